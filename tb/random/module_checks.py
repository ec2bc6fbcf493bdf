"""The checks that a random PyTorch network must pass before it is simulated.

Each raises `Wrong` with what differs. Only `Checked.run` needs the core: everything before it is
float or golden.
"""

from __future__ import annotations

import io
import random
import re
import tempfile
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from golden.bundle import Bundle, check
from golden.errors import UserError
from golden.network import Network, quantise_images
from quant.frontend.graph import Graph
from quant.frontend.lowering import lower_checked
from quant.frontend.onnx.open_file import import_onnx
from quant.networks.model import Model
from quant.networks.own_models import own_model
from quant.quantise.calibration import activation_scales
from quant.quantise.equalisation import equalise
from quant.quantise.integer_network import quantise
from tb.random.written_module import WrittenModule, load_module
from tb.random.zaps import POINT, with_random_zaps
from tb.runs.plain_arithmetic import run_plainly
from tb.runs.rounding import excess_rounding

__all__ = ["Checked", "Wrong", "check_module", "check_onnx"]

_IMAGES = 12
_CHECKED = 2
"""Images that are computed in integers."""
_TOLERANCE = 3e-5
"""Largest difference in float, as a share of the largest value."""
_OPSETS = (9, 11, 13, 17)
_NOT_EXPORTED = re.compile("channel_?shuffle", re.IGNORECASE)
"""What PyTorch's exporter has no ONNX operators for, and says so at length."""


class Wrong(Exception):
    """A network is refused, or something computes it wrongly."""


@dataclass(frozen=True)
class Checked:
    """A network that passed: its bundle with random predictors, and a quantised image."""

    bundle: Bundle
    image: Tensor
    is_constant: bool
    """The network gives the same for all images, so the checks say little."""


def check_module(written: WrittenModule) -> Checked:
    """Compare a network with its graph, its bundle and two golden models.

    Raises Wrong, or UserError where the network is refused.
    """
    rng = random.Random(f"{written.seed}: checks")
    module = load_module(written.text)
    model = _model(module, written, rng)
    pixels = _pixels(written)
    images = model.normalise(pixels)
    with torch.no_grad():
        expected = module(images.clone())
    graph = lower_checked(module, images)
    _compare_float(graph, images, expected, "the lowered graph")
    graph = equalise(graph, [images])
    _compare_float(graph, images, expected, "the equalised graph")

    scales = activation_scales(graph, model, [images])
    classes = [str(number) for number in range(graph.shapes[graph.output][0])]
    bundle = quantise(graph, scales, model, name=f"network-{written.seed}", classes=classes)
    check(bundle, Path(bundle.manifest.name))
    integers = quantise_images(bundle, pixels[:_CHECKED])
    excess = excess_rounding(graph, bundle, integers)
    if excess is not None:
        raise Wrong(f"quantisation: {excess}")
    bundle = with_random_zaps(bundle, [layer.name for layer in graph.zap_sites()], rng)
    check(bundle, Path(bundle.manifest.name))
    for network in (Network(bundle), Network(*bundle.at(POINT))):
        _compare_golden(network, integers)
    first = expected[0] if isinstance(expected, tuple) else expected
    spread = float(first.double().std(0).max())
    return Checked(bundle, integers[0], spread < _TOLERANCE)


def check_onnx(written: WrittenModule) -> bool:
    """Compare the graph that a network's ONNX file becomes with what onnxruntime gives.

    PyTorch's exporter does not always write what the network computes: changes in place are lost.

    Returns False where PyTorch cannot export it, or onnxruntime cannot run the file. Raises as
    `check_module` does.
    """
    if _NOT_EXPORTED.search(written.text):
        return False
    rng = random.Random(f"{written.seed}: onnx")
    module = load_module(written.text)
    images = _model(module, written, rng).normalise(_pixels(written))
    with tempfile.TemporaryDirectory(prefix="zapcore-") as folder:
        file = Path(folder) / "network.onnx"
        try:
            # What it cannot export, it prints at length.
            quiet = patch.object(torch._C, "_jit_onnx_log", create=True)
            with warnings.catch_warnings(), redirect_stdout(io.StringIO()), quiet:
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    module, (images[:1],), file, dynamo=False, opset_version=rng.choice(_OPSETS),
                    input_names=["x"], dynamic_axes={"x": {0: "n"}},
                )  # fmt: skip
        except Exception:  # its errors have no common base
            return False
        try:
            imported = import_onnx(file, written.shape)
            graph, expected = lower_checked(imported, images), imported.results(images)
        except UserError as error:
            if "onnxruntime cannot" in str(error):
                return False
            raise
    _compare_float(graph, images, tuple(expected), "the graph of its ONNX file")
    return True


def _model(module: nn.Module, written: WrittenModule, rng: random.Random) -> Model:
    """Images that may be negative in some networks, and may not in others."""
    mean, std = rng.choice(((0.5, 0.3), (0.4, 0.25), (0.0, 0.5)))
    channels = written.shape[0]
    return own_model(module, (mean,) * channels, (std,) * channels)


def _pixels(written: WrittenModule) -> Tensor:
    """Blurred noise, whose neighbours are alike as in pictures."""
    generator = torch.Generator().manual_seed(written.seed)
    noise = torch.rand(_IMAGES, *written.shape, generator=generator)
    blurred = nn.functional.avg_pool2d(noise, 3, 1, padding=1, count_include_pad=False)
    return ((blurred - 0.5) * 2.5 + 0.5).clamp(0, 1)


def _compare_float(graph: Graph, images: Tensor, expected: Any, what: str) -> None:
    """Compare the outputs of a graph, and what the host makes of them, with the module's."""
    returned = expected if isinstance(expected, tuple) else (expected,)
    tensors = {layer.name: ofm for layer, ofm in graph.run(images)}
    if len(graph.outputs) != len(returned):
        raise Wrong(f"{what} returns {len(graph.outputs)} tensors, the network {len(returned)}")
    for output, wanted in zip(graph.outputs, returned, strict=True):
        result, wanted = output.finish(tensors[output.tensor]).double(), wanted.double()
        if result.shape != wanted.shape:
            shapes = f"{tuple(result.shape)}, the network {tuple(wanted.shape)}"
            raise Wrong(f"{what} gives {shapes}")
        largest = max(float(wanted.abs().max()), 1e-6)
        share = float((result - wanted).abs().max()) / largest
        if share > _TOLERANCE:
            share *= 100
            raise Wrong(f"{what} differs from the network by {share:.3g} % of the largest value")


def _compare_golden(network: Network, images: Tensor) -> None:
    """Compare every tensor of golden, bit for bit, with the plain model."""
    plain = [run_plainly(network.bundle, network.predictors, image.numpy()) for image in images]
    for step in network.steps(images):
        for number, tensors in enumerate(plain):
            expected = torch.from_numpy(tensors[step.node.output])
            differ = int((step.ofm[number] != expected).sum())
            if differ:
                raise Wrong(f"golden: {step.node.name}: {differ} of {expected.numel()} differ")
