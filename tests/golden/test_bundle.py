"""A bundle that is missing, damaged or wrong is refused in one line that names the fault."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from golden.bundle import MANIFEST, TENSORS, Bundle, check_replaceable
from golden.checksums import CHECKSUM_FIELDS, with_checksums
from golden.errors import UserError
from golden.manifest import SCHEMA_VERSION
from golden.network import Network, quantise_images
from golden.pattern import MASKS
from quant import evaluate
from quant.points.operating_points import add_operating_point
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.commands import assert_refused
from tests.quant.tiny_networks import branches_module, images, tiny_bundle, tiny_module

IMAGES = images(64)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good bundle with a predictor and an operating point."""
    bundle = tiny_bundle(tiny_module(), IMAGES)[1]
    site = Site("conv2", MASKS["B"])
    zaps = train_zaps(bundle, [site], IMAGES, epochs=1, seed=0)
    bundle = add_zaps(bundle, zaps, IMAGES)
    bundle = add_operating_point(bundle, "default", {"conv2": (MASKS["B"], 0.1)})
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    bundle.save(path)
    return path


@pytest.fixture
def broken(whole: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    path = tmp_path / "tiny"
    Bundle.load(whole).save(path)
    return path


def change_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((path / MANIFEST).read_text())
    change(document)
    write_manifest(path, document)


def write_manifest(path: Path, document: dict[str, Any]) -> None:
    """Write a manifest, with checksums that are right if its version has any."""
    document = {name: document[name] for name in document if name not in CHECKSUM_FIELDS}
    text = json.dumps(document)
    checked = document.get("schema_version") == SCHEMA_VERSION and (path / TENSORS).is_file()
    content = with_checksums(text, (path / TENSORS).read_bytes()) if checked else text.encode()
    (path / MANIFEST).write_bytes(content)


def change_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path / TENSORS)
    change(tensors)
    save_file(tensors, path / TENSORS)
    change_manifest(path, lambda document: None)


def test_what_is_saved_is_loaded(whole: Path, tmp_path: Path) -> None:
    first = Bundle.load(whole)
    first.save(tmp_path / "again")
    second = Bundle.load(tmp_path / "again")
    assert first.manifest == second.manifest
    assert all(torch.equal(first.tensors[n], second.tensors[n]) for n in first.tensors)
    for file in (MANIFEST, TENSORS):
        assert (whole / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


@pytest.mark.parametrize("version", [2, 3])
def test_a_bundle_of_an_older_version_is_read_and_written_as_the_newest(
    whole: Path, broken: Path, tmp_path: Path, version: int
) -> None:
    """In version 2 a padding was (rows, columns); before version 4 there were no groups."""

    def as_older(document: dict[str, Any]) -> None:
        document["schema_version"] = version
        for layer in document["layers"]:
            layer.pop("groups", None)
            if version == 2 and "padding" in layer:
                layer["padding"] = layer["padding"][::2]

    change_manifest(broken, as_older)
    bundle = Bundle.load(broken)
    assert bundle.manifest == Bundle.load(whole).manifest
    bundle.save(tmp_path / "again")
    assert (tmp_path / "again" / MANIFEST).read_bytes() == (whole / MANIFEST).read_bytes()


def test_missing_files_are_named(
    broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken / TENSORS).unlink()
    message = f"{broken / TENSORS}: not found"
    assert_refused(evaluate.main, [broken], message, monkeypatch, capsys)
    message = f"{broken.parent / 'nowhere' / MANIFEST}: not found"
    assert_refused(evaluate.main, [broken.parent / "nowhere"], message, monkeypatch, capsys)


@pytest.mark.parametrize("file", [MANIFEST, TENSORS])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_truncated_files_are_named(
    broken: Path,
    file: str,
    share: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = (broken / file).read_bytes()
    (broken / file).write_bytes(content[: int(len(content) * share)])
    assert_refused(evaluate.main, [broken], f"{broken / file}: ", monkeypatch, capsys)


CONV2 = "layers.conv2"
ZAP = "predictors.conv2.B"
MANIFEST_FAULTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d.update(schema_version=99), "schema_version is 99, this program reads 2, 3 and 4"),
    (lambda d: d.pop("schema_version"), "schema_version is None"),
    (lambda d: d.update(surprise=1), "surprise: Extra inputs are not permitted"),
    (lambda d: d["layers"][1].update(op="softmax"), "layers.1: Input tag 'softmax'"),
    (lambda d: d["layers"][1].update(stride=[0, 1]), "layers.1.conv.stride.0"),
    (lambda d: d["layers"][1].update(stride=[1, 1 << 40]), "layers.1.conv.stride.1: Input should"),
    (lambda d: d.update(layers=d["layers"] * 2000), "layers: List should have at most 4096 items"),
    (lambda d: d.update(output=d["input"]["tensor"]), "output: is written by no layer"),
    (
        lambda d: d["activations"]["conv2"].update(shape=[8, 65535, 65535]),
        "activations.conv2: has more than 268435456 elements",
    ),
    (lambda d: d.update(name="x" * 300), "name: String should have at most 200 characters"),
    (lambda d: d["layers"][1].update(groups=0), "layers.1.conv.groups: Input should be greater"),
    (lambda d: d["layers"][1].update(groups=5), "layers.conv2.groups: is no divisor of 6 channels"),
    (lambda d: d["layers"][1].update(padding=[5, 5]), "makes shape (8, 9, 9)"),
    (lambda d: d["layers"][1].update(padding=[1, 3, 7, 9]), "makes shape (8, 6, 12)"),
    (lambda d: d["layers"][1].update(padding=[2, 2, 2]), "layers.1.conv.padding.3: Field required"),
    (
        lambda d: d["layers"][1].update(padding=[2, 2, 2, -70000]),
        "layers.1.conv.padding.3: Input should",
    ),
    (lambda d: d["layers"][1].update(padding=[2, 2, 2, -1]), "makes shape (8, 6, 4)"),
    (lambda d: d["layers"][1].update(padding=[-12, 16, 2, 2]), "leaves out the whole of its input"),
    (lambda d: d["layers"][1].update(dilation=[9, 1]), "the kernel does not fit into its padded"),
    (lambda d: d["layers"][1].update(dilation=[0, 1]), "dilation.0: Input should be greater than"),
    (lambda d: d.update(other_outputs=["conv2", "none"]), "other_outputs.1: is written by no"),
    (lambda d: d.update(other_outputs=["input"]), "other_outputs.0: is written by no layer"),
    (lambda d: d["activations"]["conv2"].update(scale=float("nan")), "activations.conv2.scale"),
    (lambda d: d["activations"]["conv2"].update(shape=[8, 6, 7]), "makes shape (8, 6, 6)"),
    (lambda d: d["predictors"]["conv2.B"].update(pattern="Q"), "unknown pattern 'Q'"),
    (lambda d: d["predictors"]["conv2.B"].update(layer="conv9"), "no conv layer 'conv9'"),
    (
        lambda d: d["operating_points"][0]["layers"]["conv2"].update(sigma="much"),
        "operating_points.0.layers.conv2.sigma: Input should be a valid number",
    ),
    (
        lambda d: d["operating_points"][0]["layers"]["conv2"].update(sigma="NaN"),
        "conv2.sigma: is NaN",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), MANIFEST_FAULTS, ids=[message for _, message in MANIFEST_FAULTS]
)
def test_faults_in_the_manifest_are_named(
    broken: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_manifest(broken, change)
    with pytest.raises(UserError) as caught:
        Bundle.load(broken)
    assert str(caught.value).startswith(f"{broken / MANIFEST}: ")
    assert message in str(caught.value)


CONCAT_FAULTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d["activations"]["left"].update(scale=1), "(cat): its tensors differ in scale or"),
    (lambda d: d["activations"]["left"].update(signed=True), "(cat): its tensors differ in scale"),
    (lambda d: d["activations"]["cat"].update(shape=[13, 12, 11]), "makes shape (14, 12, 11)"),
    (lambda d: node(d, "cat").update(inputs=["left", "wide"]), "reads 'wide' before it is"),
    (lambda d: node(d, "cat").update(inputs=[]), "concat.inputs: List should have at least 1"),
    (lambda d: node(d, "cat_1").update(inputs=["narrow", "max_pool2d"]), "differ in scale"),
    (lambda d: node(d, "max_pool2d").update(padding=[0, 0]), "makes shape (8, 10, 9)"),
    (lambda d: node(d, "max_pool2d").update(padding=[3, 0, 0, 0]), "a window lies wholly in the"),
    (lambda d: node(d, "max_pool2d").update(padding=[0, 0, 1, 3]), "a window lies wholly in the"),
]


def node(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(layer for layer in document["layers"] if layer["name"] == name)


@pytest.mark.parametrize(
    ("change", "message"), CONCAT_FAULTS, ids=[message for _, message in CONCAT_FAULTS]
)
def test_faults_in_a_concat_are_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    tiny_bundle(branches_module(), IMAGES)[1].save(tmp_path / "tiny")
    Bundle.load(tmp_path / "tiny")
    change_manifest(tmp_path / "tiny", change)
    with pytest.raises(UserError, match=re.escape(message)):
        Bundle.load(tmp_path / "tiny")


RESHAPE_FAULTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d["activations"]["up"].update(scale=1), "(up): changes the scale or the sign"),
    (lambda d: d["activations"]["up"].update(signed=True), "(up): changes the scale or the sign"),
    (lambda d: d["activations"]["up"].update(shape=[4, 12, 21]), "makes 12x21 pixels of 132x2"),
    (lambda d: d["activations"]["up"].update(shape=[3, 12, 22]), "makes shape (4, 12, 22)"),
    (lambda d: node(d, "up").update(input="fc"), "(up): reads 'fc' before it is written"),
]


@pytest.mark.parametrize(
    ("change", "message"), RESHAPE_FAULTS, ids=[message for _, message in RESHAPE_FAULTS]
)
def test_faults_in_a_reshape_are_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    module = nn.Sequential()
    module.add_module("conv", nn.Conv2d(3, 4, 3, padding=1))
    module.add_module("relu", nn.ReLU())
    module.add_module("up", nn.Upsample(scale_factor=(1, 2)))
    module.add_module("pool", nn.AdaptiveMaxPool2d(1))
    module.add_module("fc", nn.Conv2d(4, 3, 1))
    tiny_bundle(module.eval(), IMAGES)[1].save(tmp_path / "tiny")
    Bundle.load(tmp_path / "tiny")
    change_manifest(tmp_path / "tiny", change)
    with pytest.raises(UserError, match=re.escape(message)):
        Bundle.load(tmp_path / "tiny")


def test_a_concat_of_maps_that_differ_in_size_is_refused(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        node(document, "max_pool2d").update(padding=[0, 0])
        document["activations"]["max_pool2d"]["shape"] = [8, 10, 9]

    tiny_bundle(branches_module(), IMAGES)[1].save(tmp_path / "tiny")
    change_manifest(tmp_path / "tiny", change)
    with pytest.raises(UserError, match=r"\(cat\): its tensors differ in height or width"):
        Bundle.load(tmp_path / "tiny")


TENSOR_FAULTS: list[tuple[Callable[[dict[str, torch.Tensor]], object], str]] = [
    (lambda t: t.pop(f"{CONV2}.bias"), f"{CONV2}.bias: missing"),
    (lambda t: t.update({f"{CONV2}.bias": torch.zeros(9, dtype=torch.int32)}), "has shape (9,)"),
    (
        lambda t: t.update({f"{CONV2}.weight": t[f"{CONV2}.weight"].float()}),
        f"{CONV2}.weight: is torch.float32, must be torch.int8",
    ),
    (lambda t: t.update({f"{CONV2}.weight": t[f"{CONV2}.weight"][:, :5].clone()}), "(8, 5, 5, 5)"),
    (
        lambda t: t.update({f"{CONV2}.weight": t[f"{CONV2}.weight"][:, :3].clone()}),
        "must have ('any', 6, 'any', 'any')",
    ),
    (lambda t: t[f"{CONV2}.multiplier"].fill_(1 << 16), f"{CONV2}.multiplier: holds 65536"),
    (lambda t: t[f"{CONV2}.shift"].zero_(), f"{CONV2}.shift: holds 0 .. 0"),
    (lambda t: t[f"{ZAP}.score_scale"].fill_(float("nan")), "score_scale: contains NaN"),
    (lambda t: t[f"{ZAP}.score_scale"].zero_(), "score_scale: must be positive"),
    (lambda t: t[f"{ZAP}.bias1"].fill_(1 << 19), f"{ZAP}.bias1: holds 524288"),
    (lambda t: t[f"{ZAP}.shift1"].fill_(16), f"{ZAP}.shift1: holds 16"),
    (lambda t: t.update(stray=torch.zeros(1)), "stray: belongs to nothing"),
]


@pytest.mark.parametrize(
    ("change", "message"), TENSOR_FAULTS, ids=[message for _, message in TENSOR_FAULTS]
)
def test_faults_in_the_tensors_are_named(
    broken: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    change_tensors(broken, change)
    with pytest.raises(UserError) as caught:
        Bundle.load(broken)
    assert str(caught.value).startswith(f"{broken / TENSORS}: ")
    assert message in str(caught.value)


def test_a_directory_that_is_no_bundle_is_not_replaced(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UserError, match="exists and is not a bundle"):
        Bundle.load(whole).save(tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"


WEB_APP = {"name": "app", "start_url": "/", "icons": []}


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "notes.txt").write_text("precious"),
        lambda path: (path / "old").mkdir(),
        lambda path: (path / TENSORS).write_bytes(b"precious"),
        lambda path: (path / TENSORS).unlink(),
        lambda path: (path / MANIFEST).write_text(json.dumps(WEB_APP)),
        lambda path: (path / MANIFEST).write_text(json.dumps({"schema_version": 1, **WEB_APP})),
        lambda path: (path / MANIFEST).write_text("[]"),
        lambda path: (path / MANIFEST).write_text("{"),
        lambda path: change_manifest(path, lambda document: document.update(surprise=1)),
        lambda path: change_manifest(path, lambda document: document.pop("activations")),
    ],
)
def test_a_folder_that_is_not_wholly_a_bundle_is_not_replaced(
    broken: Path, whole: Path, change: Callable[[Path], object]
) -> None:
    change(broken)
    before = {path: path.read_bytes() for path in broken.iterdir() if path.is_file()}
    for refused in (check_replaceable, Bundle.load(whole).save):
        with pytest.raises(UserError, match="exists and is not a bundle; choose another --out"):
            refused(broken)
    assert {path: path.read_bytes() for path in broken.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("version", [1, 2, 3, 99])
def test_a_bundle_of_any_version_is_replaced(broken: Path, whole: Path, version: int) -> None:
    change_manifest(broken, lambda document: document.update(schema_version=version))
    check_replaceable(broken)
    Bundle.load(whole).save(broken)
    assert Bundle.load(broken).manifest == Bundle.load(whole).manifest


def test_a_bundle_that_is_not_valid_is_not_written(whole: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(whole)
    tensors = {**bundle.tensors, f"{ZAP}.score_offset": torch.full((8,), float("nan")).double()}
    with pytest.raises(UserError, match="score_offset: contains NaN"):
        Bundle(bundle.manifest, tensors).save(tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--point", "fast"], "no operating point 'fast' in this bundle; it has: default"),
        (["--pattern", "Q"], "unknown pattern 'Q'"),
        (["--pattern", "C"], "the bundle has no predictor for pattern C"),
        (["--pattern", "B", "--sigma", "much"], "sigma 'much' is not a number"),
        (["--pattern", "B", "--sigma", "nan"], "sigma 'nan' is not a number"),
        ([], "digits has images of (1, 16, 16), the network takes (3, 12, 11)"),
        (["--dataset", "cifar10"], "dataset cifar10 needs --data DIR"),
        (["--dataset", "cifar10", "--data", "nowhere"], "nowhere: no such directory"),
    ],
)
def test_what_a_bundle_cannot_be_evaluated_on(
    whole: Path,
    options: list[str | Path],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(evaluate.main, [whole, *options], message, monkeypatch, capsys)


@pytest.mark.parametrize("name", ["alexnet-cifar-half", "vgg16-cifar-quarter"])
def test_the_bundles_of_the_examples_are_whole(name: str) -> None:
    bundle = Bundle.load(Path(__file__).parents[2] / "examples" / "bundles" / name)
    points = {point.name: point for point in bundle.manifest.operating_points}
    assert {"default", "max-drop-0.3", "max-drop-1"} <= points.keys()
    measured = [points[f"max-drop-{drop}"].measured for drop in ("0.3", "1")]
    assert None not in measured
    network, predictors = bundle.at("max-drop-1")
    assert points["max-drop-1"].adapted
    pixels = torch.rand(2, *bundle.manifest.activations[bundle.manifest.input.tensor].shape)
    steps = list(Network(network, predictors).steps(quantise_images(bundle, pixels)))
    assert steps[-1].ofm.shape == (2, len(bundle.manifest.classes), 1, 1)


def test_a_bundle_of_version_3_has_no_checksums(whole: Path, broken: Path) -> None:
    change_manifest(broken, lambda document: document.update(schema_version=3))
    assert Bundle.load(broken).manifest == Bundle.load(whole).manifest
    document = json.loads((broken / MANIFEST).read_text())
    (broken / MANIFEST).write_text(json.dumps({**document, "checksum": "0" * 64}))
    with pytest.raises(UserError, match="checksum: Extra inputs are not permitted"):
        Bundle.load(broken)


@pytest.mark.parametrize("file", [MANIFEST, TENSORS])
def test_every_flipped_bit_is_found(broken: Path, file: str) -> None:
    content = (broken / file).read_bytes()
    # Each byte of the text's beginning, where the checksums are, and 150 places all over the file.
    places = sorted({*range(280), *range(0, len(content), len(content) // 150)})
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        (broken / file).write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            Bundle.load(broken)
        assert str(caught.value).startswith(f"{broken / file}: ")
    (broken / file).write_bytes(content)
    Bundle.load(broken)


@pytest.mark.parametrize("field", CHECKSUM_FIELDS)
def test_a_bundle_whose_checksum_is_missing_is_refused(broken: Path, field: str) -> None:
    document = json.loads((broken / MANIFEST).read_text())
    del document[field]
    (broken / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"manifest\.json: damaged: its checksum is"):
        Bundle.load(broken)
