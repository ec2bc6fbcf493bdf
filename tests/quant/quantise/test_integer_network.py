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


class Heads(nn.Module):
    """Two convolutions whose results are concatenated and pooled to one pixel: the logits."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.a, self.b = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.pool(torch.cat([self.a(x), self.b(x)], 1)).flatten(1)


def largest_values(graph: Graph) -> dict[str, float]:
    """Return the largest magnitude of each layer's float ofm."""
    pixels = MODEL.normalise(IMAGES.pixels(slice(None)))
    return {layer.name: float(ofm.abs().max()) for layer, ofm in graph.run(pixels)}


def test_logits_that_are_pooled_or_put_together_are_not_clipped() -> None:
    torch.manual_seed(0)
    graph, bundle = tiny_bundle(Heads(nn.AdaptiveMaxPool2d(1)).eval(), IMAGES)
    check(bundle, Path("heads"))
    largest = largest_values(graph)
    scale = max(largest["a"], largest["b"]) / 127
    names = ("a", "b", "cat", bundle.manifest.output)
    for name in names:
        assert bundle.manifest.activations[name].scale == pytest.approx(scale, rel=1e-5)


def test_an_average_has_a_scale_of_its_own() -> None:
    torch.manual_seed(0)
    graph, bundle = tiny_bundle(Heads(nn.AdaptiveAvgPool2d(1)).eval(), IMAGES)
    check(bundle, Path("heads"))
    output = bundle.manifest.output
    scale = bundle.manifest.activations[output].scale
    assert scale == pytest.approx(largest_values(graph)[output] / 127, rel=1e-5)
    assert scale < bundle.manifest.activations["cat"].scale / 2
    assert relative_errors(graph, bundle)[output] < 0.02
    logits = Network(bundle)(quantise_images(bundle, IMAGES.pixels(slice(None))))
    assert int(logits.abs().max()) == 127


def test_averages_that_meet_a_convolution_in_a_concat_share_its_scale() -> None:
    class Meeting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.beside = nn.Conv2d(4, 5, 3, stride=2)
            self.fc = nn.Linear(9 * 4 * 4, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.stem(x))
            x = torch.cat([F.avg_pool2d(x, 3, 2), F.relu(self.beside(x))], 1)
            return self.fc(x.flatten(1))

    torch.manual_seed(0)
    graph, bundle = tiny_bundle(Meeting().eval(), IMAGES)
    check(bundle, Path("meeting"))
    activations = bundle.manifest.activations
    assert activations["avg_pool2d"].scale == activations["beside"].scale
    assert activations["avg_pool2d"].scale != activations["stem"].scale
    assert max(relative_errors(graph, bundle).values()) < 0.04


def test_an_average_of_nothing_but_zeros_can_be_quantised() -> None:
    """Its windows see the padding alone, so its largest value says nothing about its scale."""
    padded = nn.Conv2d(3, 4, 1, padding=3, bias=False)
    module = nn.Sequential(padded, nn.ReLU(), nn.AvgPool2d(1, 30), nn.Flatten(), nn.Linear(4, 5))
    graph, bundle = tiny_bundle(module.eval(), IMAGES)
    check(bundle, Path("zeros"))
    assert largest_values(graph)["2"] == 0
    assert largest_values(graph)["0"] > 0.1


@pytest.mark.parametrize("ceiling", [6.0, 0.3, 100.0])
def test_saturation_is_the_ceiling_of_a_clamped_relu(ceiling: float) -> None:
    """Images brighter than those of the calibration reach no value above it."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.Hardtanh(0, ceiling),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 5 * 4, 5),
    ).eval()
    with torch.no_grad():
        for name, factor in (("0.weight", 4), ("2.weight", 8)):
            module.get_parameter(name).mul_(factor)
    graph, bundle = tiny_bundle(module, IMAGES)
    check(bundle, Path("clamped"))
    assert max(relative_errors(graph, bundle).values()) < 0.04
    first = bundle.manifest.activations["0"]
    if ceiling < largest_unclamped(module):
        assert first.scale == pytest.approx(ceiling / 255)
    else:
        assert first.scale < ceiling / 255
    extremes = torch.tensor([0.0, 1.0])[torch.randint(2, (32, 3, 12, 11))]
    for step in Network(bundle).steps(quantise_images(bundle, extremes)):
        if step.node.name in ("0", "2"):
            limit = ceiling if step.node.name == "0" else 6
            scale = bundle.manifest.activations[step.node.name].scale
            assert int(step.ofm.max()) == 255
            assert int(step.ofm.max()) * scale <= limit * (1 + 1e-6)


def largest_unclamped(module: nn.Sequential) -> float:
    """Return the largest result of the first convolution on the calibration images."""
    return float(module[0](MODEL.normalise(IMAGES.pixels(slice(None)))).detach().max())


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
