"""Quantised layers stay close to the float ones, also with degenerate channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.bundle import Bundle, check
from golden.network import Network, quantise_images
from quant.frontend.graph import Graph
from quant.quantise.calibration import Histogram, activation_scales
from quant.quantise.integer_network import quantise
from tests.quant.tiny_networks import MODEL, branches_module, images, tiny_bundle, tiny_module

IMAGES = images(64)


def relative_errors(graph: Graph, bundle: Bundle) -> dict[str, float]:
    """Return the RMS of (integers * scale - float ofm) / RMS of the float ofm, for every layer."""
    pixels = IMAGES.pixels(slice(None))
    steps = Network(bundle).steps(quantise_images(bundle, pixels))
    errors = {}
    for step, (layer, real) in zip(steps, graph.run(MODEL.normalise(pixels)), strict=True):
        scale = bundle.manifest.activations[layer.name].scale
        difference = step.ofm * scale - real
        errors[layer.name] = float(difference.square().mean().sqrt() / real.square().mean().sqrt())
    return errors


@pytest.mark.parametrize("build", [tiny_module, branches_module])
def test_every_layer_is_close_to_the_float_one(build: Callable[[], nn.Module]) -> None:
    graph, bundle = tiny_bundle(build(), IMAGES)
    check(bundle, Path("tiny"))
    errors = relative_errors(graph, bundle)
    assert set(errors) == {layer.name for layer in graph.layers}
    assert max(errors.values()) < 0.04, errors


def test_weights_are_symmetric_and_use_their_range_in_every_channel() -> None:
    _, bundle = tiny_bundle(tiny_module(), IMAGES)
    for name, weight in bundle.tensors.items():
        if name.endswith(".weight"):
            assert weight.dtype == torch.int8
            assert weight.flatten(1).abs().amax(1).tolist() == [127] * len(weight)
            assert int(weight.min()) >= -127


def test_signs_of_tensors() -> None:
    _, bundle = tiny_bundle(tiny_module(), IMAGES)
    signed = {name for name, tensor in bundle.manifest.activations.items() if tensor.signed}
    assert signed == {"input", "down", "fc"}


@pytest.mark.parametrize(
    ("gain", "bias"), [(0.0, 0.0), (0.0, 0.7), (1e-12, 0.7), (1e-12, -300.0), (1.0, -300.0)]
)
def test_dead_and_tiny_channels_survive(gain: float, bias: float) -> None:
    """A channel has weights of zero or nearly zero, with and without a bias and a residual."""
    module = tiny_module()
    with torch.no_grad():
        for name in ("conv2", "conv3", "conv4"):
            layer = module.get_submodule(name)
            assert isinstance(layer, nn.Conv2d)
            layer.weight[1] *= gain
        module.bn2.running_mean[1] = 0  # type: ignore[index]
        module.bn2.bias[1] = bias
        assert module.conv3.bias is not None
        module.conv3.bias[1] = bias
    graph, bundle = tiny_bundle(module, IMAGES)
    check(bundle, Path("tiny"))
    errors = relative_errors(graph, bundle)
    assert max(errors.values()) < 0.06, errors


def test_a_network_of_zeros_can_be_quantised() -> None:
    module = tiny_module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    _, bundle = tiny_bundle(module, IMAGES)
    check(bundle, Path("tiny"))
    logits = Network(bundle)(quantise_images(bundle, IMAGES.pixels(slice(0, 2))))
    assert not logits.any()


def test_every_pixel_fits_into_the_input() -> None:
    _, bundle = tiny_bundle(tiny_module(), IMAGES)
    extremes = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 12, 11)
    levels = quantise_images(bundle, extremes)
    assert levels.unique().tolist() == [-127, 127]


def test_scales_depend_on_the_images_alone() -> None:
    graph, bundle = tiny_bundle(tiny_module(), IMAGES)
    batches = [MODEL.normalise(pixels) for pixels, _ in IMAGES.batches(10)]
    scales = activation_scales(graph, MODEL, batches)
    again = quantise(graph, scales, MODEL, name="tiny", classes=bundle.manifest.classes)
    for name, activation in bundle.manifest.activations.items():
        assert again.manifest.activations[name].scale == pytest.approx(activation.scale, rel=1e-5)


def test_a_concat_hands_on_integers_as_they_are() -> None:
    module = branches_module()
    with torch.no_grad():
        module.left.weight *= 10  # the other operand, stem, has a much smaller range
    _, bundle = tiny_bundle(module, IMAGES)
    activations = bundle.manifest.activations
    assert activations["left"].scale == activations["stem"].scale == activations["cat"].scale
    assert activations["cat"].scale != activations["last"].scale
    maps = {}
    for step in Network(bundle).steps(quantise_images(bundle, IMAGES.pixels(slice(0, 4)))):
        maps[step.node.name] = step.ofm
    assert torch.equal(maps["cat"], torch.cat([maps["left"], maps["max_pool2d"]], 1))
    assert 100 < int(maps["left"].max()) <= 255


def test_logits_that_are_pooled_or_put_together_are_not_clipped() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.a, self.b = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.stem(x))
            return F.adaptive_avg_pool2d(torch.cat([self.a(x), self.b(x)], 1), 1).flatten(1)

    torch.manual_seed(0)
    graph, bundle = tiny_bundle(Heads().eval(), IMAGES)
    check(bundle, Path("heads"))
    pixels = IMAGES.pixels(slice(None))
    largest = {layer.name: float(x.abs().max()) for layer, x in graph.run(MODEL.normalise(pixels))}
    scale = max(largest["a"], largest["b"]) / 127
    names = ("a", "b", "cat", bundle.manifest.output)
    for name in names:
        assert bundle.manifest.activations[name].scale == pytest.approx(scale, rel=1e-5)


def best_range(values: Tensor) -> np.ndarray:
    histogram = Histogram(values.abs().amax(1))
    histogram.add(values)
    return histogram.best_range(255).numpy()


def test_clipping_range_keeps_a_uniform_tensor_and_cuts_a_lonely_outlier() -> None:
    uniform = torch.linspace(0, 2, 10_000)
    with_outlier = torch.cat([uniform[:-1], torch.tensor([8.0])])
    kept, cut = best_range(torch.stack([uniform, with_outlier]))
    assert kept == pytest.approx(2, rel=0.02)
    assert 1.9 < cut < 8
