"""Equalisation leaves the function alone, and keeps the levels of small channels and parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.bundle import check
from golden.network import Network, quantise_images
from quant.frontend.graph import ConvLayer, Graph
from quant.frontend.lowering import lower
from quant.quantise.calibration import activation_scales
from quant.quantise.equalisation import apply_factors, equalise
from quant.quantise.integer_network import quantise
from tests.quant.tiny_networks import MODEL, SHAPE, branches_module, images, tiny_module

IMAGES = images(96)
TEST = images(48, seed=1)


def batches() -> list[Tensor]:
    return [MODEL.normalise(pixels) for pixels, _ in IMAGES.batches(32)]


def sqnr(graph: Graph, *, equalised: bool) -> dict[str, float]:
    """Return every layer's signal-to-noise ratio on the bits, in decibels."""
    written = equalise(graph, batches()) if equalised else graph
    scales = activation_scales(written, MODEL, batches())
    bundle = quantise(written, scales, MODEL, name="tiny", classes=list("abcde"))
    check(bundle, Path("tiny"))
    pixels = MODEL.normalise(TEST.pixels(slice(None)))
    steps = Network(bundle).steps(quantise_images(bundle, TEST.pixels(slice(None))))
    ratios = {}
    for step, (layer, real), (_, other) in zip(steps, graph.run(pixels), written.run(pixels)):
        axes = (0, 2, 3)
        factors = other.double().square().sum(axes) / real.double().square().sum(axes)
        levels = step.ofm.double() * scales[layer.name]
        values = levels / factors.sqrt().nan_to_num(1.0).view(-1, 1, 1)
        noise = (values - real).square().sum()
        ratios[layer.name] = 10 * math.log10(float(real.square().sum() / noise))
    return ratios


def difference(graph: Graph, other: Graph) -> float:
    """Return the largest difference of two graphs' logits, as a share of the largest logit."""
    (_, *_, (_, logits)), (_, *_, (_, others)) = (g.run(batches()[0]) for g in (graph, other))
    return float((logits - others).abs().max() / logits.abs().max())


class Parts(nn.Module):
    """Two convolutions that meet in a concat, which the given layers read.

    The second part is `ratio` times as small as the first one, and its readers make up for it.
    """

    def __init__(
        self, ratio: float, reader: str, relu: Callable[[Tensor], Tensor] = F.relu
    ) -> None:
        super().__init__()
        self.reader = reader
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a, self.b = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8, 10, 3, padding=1)
        self.read = nn.Conv2d(16, 12, 3, padding=1)
        self.also = nn.Conv2d(16, 16 if reader == "add" else 12, 1)
        self.last = nn.Conv2d(16 if reader == "add" else 12, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 6 * 5, 5)
        with torch.no_grad():
            for parameter in self.b.parameters():
                parameter.div_(ratio)
            for layer in (self.read, self.also):
                layer.weight[:, 6:] *= ratio

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)
        if self.reader == "max pool":
            x = F.relu(self.read(F.max_pool2d(x, 3, 1, 1)))
        elif self.reader == "average pool":
            x = F.relu(self.read(F.avg_pool2d(x, 3, 1, 1)))
        elif self.reader == "add":
            x = F.relu(self.also(x) + x)
        elif self.reader == "several":
            x = F.relu(self.read(x)) + self.also(F.max_pool2d(x, 3, 1, 1))
        else:
            x = F.relu(self.read(x))
        x = F.max_pool2d(F.relu(self.last(x)), 2)
        return self.fc(x.flatten(1))


READERS = {
    "convolution": "read",
    "max pool": "read",
    "average pool": "read",
    "add": "also",
    "several": "read",
}
"""The layers that read the concat -> one of them that sees all of it."""


def parts(ratio: float, reader: str) -> Graph:
    torch.manual_seed(0)
    return lower(Parts(ratio, reader).eval(), SHAPE)


@pytest.fixture(scope="module")
def agreeing() -> dict[str, float]:
    return sqnr(parts(1, "convolution"), equalised=True)


@pytest.mark.parametrize("reader", READERS)
def test_a_part_of_a_concat_may_be_a_hundred_times_smaller(
    reader: str, agreeing: dict[str, float]
) -> None:
    graph = parts(100, reader)
    layer = READERS[reader]
    assert sqnr(graph, equalised=False)[layer] < 20
    ratio = sqnr(graph, equalised=True)[layer]
    assert ratio > 37
    assert ratio > agreeing["read"] - 2


def test_a_network_that_is_good_as_it_is_stays_as_it_is() -> None:
    graph = parts(1, "several")
    assert equalise(graph, batches()) is graph


def depthwise_module() -> nn.Module:
    """A network whose convolutions read their channels in groups, and that has an addition."""

    class Depthwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.grouped = nn.Conv2d(8, 12, 3, groups=2)
            self.fc = nn.Linear(12 * 8 * 7, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.stem(x))
            x = F.relu(self.depthwise(x)) + x
            return self.fc(F.relu(self.grouped(x)).flatten(1))

    torch.manual_seed(2)
    return Depthwise().eval()


@pytest.mark.parametrize("build", [tiny_module, branches_module, depthwise_module])
def test_channels_of_any_size_give_the_results_of_equal_ones(
    build: Callable[[], nn.Module],
) -> None:
    """The same function is written with channels that differ by up to 1,000 times."""
    graph = lower(build(), SHAPE)
    generator = torch.Generator().manual_seed(3)
    factors = {
        layer.name: 10 ** (3 * torch.rand(len(layer.weight), generator=generator).double() - 1.5)
        for layer in graph.layers
        if isinstance(layer, ConvLayer) and layer.name != graph.output
    }
    uneven = apply_factors(graph, factors)
    assert difference(graph, uneven) < 1e-5
    expected = sqnr(graph, equalised=False)[graph.output]
    assert sqnr(uneven, equalised=False)[graph.output] < expected - 10
    assert sqnr(uneven, equalised=True)[graph.output] > expected - 1.5


def test_the_function_is_preserved_with_ceilings_and_dead_channels() -> None:
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3)
            self.a, self.b = nn.Conv2d(8, 6, 3), nn.Conv2d(8, 6, 3)
            self.read = nn.Conv2d(12, 6, 1)
            self.fc = nn.Linear(6 * 8 * 7, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu6(self.stem(x))
            x = torch.cat([F.hardtanh(self.a(x), 0, 0.5), F.hardtanh(self.b(x), 0, 0.5)], 1)
            return self.fc(F.relu(self.read(x)).flatten(1))

    torch.manual_seed(1)
    module = Clamped().eval()
    with torch.no_grad():
        for parameter in module.b.parameters():
            parameter.div_(200)
        module.read.weight[:, 6:] *= 200
        module.a.weight[0] = 0
        module.get_parameter("a.bias")[0] = -1
    graph = lower(module, SHAPE)
    even = equalise(graph, batches())
    assert even is not graph
    assert difference(graph, even) < 1e-5
    assert sqnr(graph, equalised=True)["read"] > 37
