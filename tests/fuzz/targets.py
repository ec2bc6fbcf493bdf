"""The inputs of the product, each as a target: a good one is changed, and handed to the product."""

from __future__ import annotations

import io
import json
import pickle
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as save_safetensors

from compiler import program_file
from compiler.build import compile_bundle
from golden.bundle import MANIFEST, TENSORS, Bundle
from golden.checksums import with_checksums
from golden.network import Network, quantise_images
from hw.contract.config import PRESETS, Config
from hw.contract.program_file import HEADER
from quant.data.registry import load, open_dataset
from quant.networks.own_models import build_own
from quant.networks.weights import load_weights
from quant.points.results import read_points
from quant.runtime.progress import reporting
from tb.random.networks import random_network
from tests.compiler.program_file_edits import details_of, sealed, with_details
from tests.fuzz.commands import commands
from tests.fuzz.harness import Outcome, Target, run_target
from tests.fuzz.mutations import Draw, damaged_bytes, mutated_document
from tests.hw.small_configs import STRIPS, TINY
from tests.quant.tiny_networks import SHAPE, Tiny

__all__ = ["TARGETS", "run_named"]

SMALL = PRESETS["small"]


@cache
def _bundles() -> list[Bundle]:
    """Good bundles with predictors, operating points, residuals, poolings and concatenations."""
    rng = random.Random(2)
    return [random_network(STRIPS, rng) for _ in range(6)]


def _write(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def _one_of(data: Draw, things: Any) -> Any:
    return data.draw(st.sampled_from(list(things)), label="which")


@torch.no_grad()
def _use(bundle: Bundle) -> None:
    """Do with a bundle that was taken what commands do: run it, and compile it."""
    shape = bundle.manifest.activations[bundle.manifest.input.tensor].shape
    for point in [None, *bundle.manifest.operating_points]:
        network, predictors = (bundle, {}) if point is None else bundle.at(point.name)
        Network(network, predictors)(quantise_images(bundle, torch.rand(1, *shape)))
    for config in (SMALL, TINY):
        compile_bundle(bundle, config)


def manifests(data: Draw, folder: Path) -> None:
    """A bundle whose manifest is changed, with checksums that are right."""
    bundle = _one_of(data, _bundles())
    document = mutated_document(data, json.loads(bundle.manifest.model_dump_json()))
    tensors = save_safetensors({n: t.contiguous() for n, t in bundle.tensors.items()})
    _write(folder, TENSORS, tensors)
    text = json.dumps(document, indent=2)
    _write(folder, MANIFEST, with_checksums(text, tensors))
    _use(Bundle.load(folder))


def manifest_texts(data: Draw, folder: Path) -> None:
    """A bundle whose manifest is damaged; no damage may be missed."""
    bundle = _one_of(data, _bundles())
    bundle.save(folder / "good")
    text = (folder / "good" / MANIFEST).read_bytes()
    damaged = damaged_bytes(data, text)
    _write(folder, TENSORS, (folder / "good" / TENSORS).read_bytes())
    _write(folder, MANIFEST, damaged)
    Bundle.load(folder)
    assert damaged == text, "damage was not found"


def tensors(data: Draw, folder: Path) -> None:
    """A bundle whose tensors are damaged, with checksums that are right."""
    bundle = _one_of(data, _bundles())
    content = save_safetensors({n: t.contiguous() for n, t in bundle.tensors.items()})
    size = 8 + int.from_bytes(content[:8], "little")
    if data.draw(st.booleans(), label="header"):
        header = json.dumps(mutated_document(data, json.loads(content[8:size]))).encode()
        content = len(header).to_bytes(8, "little") + header + content[size:]
    else:
        content = damaged_bytes(data, content)
    _write(folder, TENSORS, content)
    text = bundle.manifest.model_dump_json(indent=2)
    _write(folder, MANIFEST, with_checksums(text, content))
    _use(Bundle.load(folder))


@cache
def _programs() -> list[bytes]:
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for bundle in _bundles():
            file = Path(scratch) / "program.zap"
            program_file.save(compile_bundle(bundle, STRIPS), file)
            found.append(file.read_bytes())
    return found


def programs(data: Draw, folder: Path) -> None:
    """A program's file whose details or other bytes are changed, with a checksum that is right."""
    content = _one_of(data, _programs())
    if data.draw(st.booleans(), label="details"):
        content = with_details(content, mutated_document(data, details_of(content)))
    else:
        content = damaged_bytes(data, content)
        if len(content) >= 4 * len(HEADER):
            content = sealed(content)
    _write(folder, "program.zap", content)
    program = program_file.load(folder / "program.zap")
    for place in program.tensors.values():
        assert 0 <= place.address <= program.end - place.size
    assert {program.input, program.output} <= program.tensors.keys()


def program_bytes(data: Draw, folder: Path) -> None:
    """A program's file that is damaged; no damage may be missed."""
    content = _one_of(data, _programs())
    damaged = damaged_bytes(data, content)
    _write(folder, "program.zap", damaged)
    program_file.load(folder / "program.zap")
    assert damaged == content, "damage was not found"


def configurations(data: Draw, folder: Path) -> None:
    """A file of a configuration, or of results, that is changed."""
    file = folder / "file.json"
    if data.draw(st.booleans(), label="configuration"):
        document = mutated_document(data, SMALL.to_dict())
        file.write_text(json.dumps(document))
        compile_bundle(_bundles()[0], Config.load(str(file)))
    else:
        entry = {"network": "a", "dataset": "b", "method": "zap", "drop": 1, "mac_reduction": 0.5}
        file.write_text(json.dumps(mutated_document(data, [entry, entry])))
        read_points(file)


class _Tensors:
    """State dicts as tests know them, and as nobody should save them."""

    kinds = ("int8", "int64", "bool", "complex64", "float16", "bfloat16", "float64")

    @classmethod
    def change(cls, data: Draw, state: dict[str, Any]) -> dict[str, Any]:
        state = dict(state)
        name = _one_of(data, state)
        action = data.draw(st.integers(0, 5), label="action")
        if action == 0:
            state[name] = state[name].to(getattr(torch, _one_of(data, cls.kinds)))
        elif action == 1:
            shape = data.draw(st.lists(st.integers(0, 3), max_size=5), label="shape")
            state[name] = torch.zeros(shape)
        elif action == 2:
            state[name] = _one_of(data, (None, 1, "x", [1], {"a": torch.ones(1)}, float("nan")))
        elif action == 3:
            state[name] = torch.full_like(state[name].float(), _one_of(data, (1e38, np.nan, -0.0)))
        elif action == 4:
            del state[name]
        else:
            state = {_one_of(data, ("state_dict", "model", "other", "module.x")): state}
        return state


def weights(data: Draw, folder: Path) -> None:
    """A file of weights that is changed or damaged."""
    module = Tiny()
    state: dict[str, Any] = module.state_dict()
    if data.draw(st.booleans(), label="changed"):
        state = _Tensors.change(data, state)
    plain = all(isinstance(value, torch.Tensor) for value in state.values())
    if plain and data.draw(st.booleans(), label="safetensors"):
        content = save_safetensors({name: state[name].contiguous() for name in state})
        name = "weights.safetensors"
    else:
        stream = io.BytesIO()
        old = data.draw(st.booleans(), label="old format")
        torch.save(state, stream, _use_new_zipfile_serialization=not old)
        content, name = stream.getvalue(), "weights.pt"
    if data.draw(st.booleans(), label="damaged"):
        content = damaged_bytes(data, content)
    load_weights(module, _write(folder, name, content), 5)
    assert all(value.isfinite().all() for value in module.state_dict().values())


def cifar(data: Draw, folder: Path) -> None:
    """A folder of CIFAR files, one of which is damaged."""
    rng = np.random.default_rng(1)
    protocol = data.draw(st.integers(2, 5), label="protocol")
    batch = {b"data": rng.integers(0, 256, (6, 3072)).astype(np.uint8), b"labels": [1, 2] * 3}
    files = {
        "batches.meta": {b"label_names": [b"class%d" % number for number in range(10)]},
        "data_batch_1": batch,
        "test_batch": batch,
    }
    damaged = _one_of(data, files)
    for name, content in files.items():
        pickled = pickle.dumps(content, protocol)
        _write(folder, name, damaged_bytes(data, pickled) if name == damaged else pickled)
    dataset = load("cifar10", folder)
    assert len(dataset.train) + len(dataset.held_out) == len(dataset.test) == 6


def arrays(data: Draw, folder: Path) -> None:
    """A file of arrays that is changed or damaged."""
    images = np.zeros((12, 8, 8, 3), np.uint8)
    content: dict[str, Any] = {"images": images, "labels": np.arange(12) % 3}
    if data.draw(st.booleans(), label="changed"):
        name = _one_of(data, ("images", "labels", "classes", "test_images", "test_labels", "x"))
        shape = data.draw(st.lists(st.integers(0, 12), max_size=5), label="shape")
        kind = _one_of(data, ("u1", "i1", "i8", "u2", "f4", "c8", "?", "U3", "M8[s]", "V4", "S2"))
        content[name] = np.zeros(shape, kind)
    stream = io.BytesIO()
    (np.savez if data.draw(st.booleans()) else np.savez_compressed)(stream, **content)
    packed = stream.getvalue()
    if data.draw(st.booleans(), label="damaged"):
        packed = damaged_bytes(data, packed)
    dataset = open_dataset(str(_write(folder, "images.npz", packed)), None).read(3)
    assert dataset.test.images.dtype == torch.uint8


def images(data: Draw, folder: Path) -> None:
    """A folder of images, one of which is damaged or of an unusual size or type."""
    modes = ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "I", "F", "HSV")
    form = _one_of(data, ("png", "jpeg", "bmp", "gif", "tiff", "webp", "ppm"))
    sizes = ((8, 8), (1, 1), (1, 3000), (3000, 1), (7, 9))
    for file in folder.glob("im*"):
        file.unlink()
    for number in range(10):
        odd = number == 3
        stream = io.BytesIO()
        size = _one_of(data, sizes) if odd else (8, 8)
        try:
            Image.new(_one_of(data, modes) if odd else "RGB", size).save(stream, form)
        except (OSError, KeyError, ValueError):  # the format has no such mode
            Image.new("RGB", size).save(stream, form)
        content = stream.getvalue()
        if odd and data.draw(st.booleans(), label="damaged"):
            content = damaged_bytes(data, content)
        _write(folder, f"im{number}.{form}", content)
    size = _one_of(data, (None, (8, 8), (224, 224)))
    dataset = open_dataset(str(folder), None, size).read(_one_of(data, (1, 3)))
    assert dataset.train.images.dtype == torch.uint8


@cache
def _onnx_model() -> bytes:
    import onnx
    import onnx.parser
    from onnx import numpy_helper

    rng = np.random.default_rng(1)
    constants = {"w": (4, 3, 3, 3), "b": (4,), "v": (6, 4, 1, 1), "fc": (6 * 16, 5)}
    graph = onnx.parser.parse_graph(
        """test (float[n, 3, 8, 8] x) => (float[n, 5] y) {
            c = Conv<pads=[1, 1, 1, 1]>(x, w, b)
            r = Relu(c)
            p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(r)
            d = Conv(p, v)
            e = Relu(d)
            f = Flatten(e)
            y = MatMul(f, fc)
        }"""
    )
    for name, shape in constants.items():
        value = rng.normal(size=shape).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(value, name))
    model = onnx.helper.make_model_gen_version(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    return model.SerializeToString()


def onnx_files(data: Draw, folder: Path) -> None:
    """An ONNX file that is changed or damaged."""
    import onnx
    from google.protobuf import json_format

    from quant.frontend.onnx.open_file import import_onnx

    content = _onnx_model()
    if data.draw(st.booleans(), label="changed"):
        document = json_format.MessageToDict(onnx.load_from_string(content))
        document = mutated_document(data, document)
        try:
            content = json_format.ParseDict(document, onnx.ModelProto()).SerializeToString()
        except (json_format.ParseError, ValueError, TypeError, UnicodeError):
            return  # no file says that
    else:
        content = damaged_bytes(data, content)
    model = import_onnx(_write(folder, "model.onnx", content), (3, 8, 8))
    model.lower()


_LAYERS = (
    "nn.Conv2d({}, {}, {})",
    "nn.Conv2d({}, {}, 3, padding={})",
    "nn.Conv2d(3, 8, 3, stride={}, dilation={}, groups={})",
    "nn.Conv2d(3, 4, 3, dtype=torch.complex64)",
    "nn.BatchNorm2d({})",
    "nn.ReLU()",
    "nn.MaxPool2d({}, {}, {})",
    "nn.AvgPool2d({}, {})",
    "nn.AdaptiveAvgPool2d({})",
    "nn.Flatten({})",
    "nn.Linear({}, {})",
    "nn.Upsample(scale_factor={})",
    "nn.Identity()",
    "nn.Softmax({})",
    "nn.Dropout()",
    "nn.Parameter({})",
)
_ARGUMENTS = ("0", "1", "2", "3", "8", "-1", "None", "(1, 2)", "2**40", "0.5", "'same'", "5000")


def own_files(data: Draw, folder: Path) -> None:
    """A file of Python with a network of the user's."""
    from quant.frontend.lowering import lower

    layers = []
    for _ in range(data.draw(st.integers(0, 5), label="layers")):
        template = _one_of(data, _LAYERS)
        count = template.count("{}")
        layers.append(template.format(*(_one_of(data, _ARGUMENTS) for _ in range(count))))
    text = f"import torch\nfrom torch import nn\nnet = nn.Sequential({', '.join(layers)})\n"
    content = text.encode()
    if data.draw(st.integers(0, 3), label="damaged") == 0:
        content = damaged_bytes(data, content)
    file = _write(folder, f"own{data.draw(st.integers(0, 1 << 30))}.py", content)
    try:
        lower(build_own(f"{file}:net", None), SHAPE)
    finally:
        file.unlink()


TARGETS: dict[str, Target] = {
    "manifests": manifests,
    "manifest-texts": manifest_texts,
    "tensors": tensors,
    "programs": programs,
    "program_bytes": program_bytes,
    "configurations": configurations,
    "weights": weights,
    "cifar": cifar,
    "arrays": arrays,
    "images": images,
    "onnx": onnx_files,
    "own-networks": own_files,
    "commands": commands,
}
"""Name on the command line -> target."""


def run_named(name: str, count: int, seed: int) -> Outcome:
    """Run a target on `count` inputs in a folder of its own, and print how far it is."""
    with tempfile.TemporaryDirectory(prefix="zapcore-fuzz-") as folder, reporting() as report:
        return run_target(
            TARGETS[name], Path(folder), count, seed, lambda done: report(name, done, count)
        )
