"""Four networks on one image each, the same on every machine, and the core's counts on them.

AlexNet-CIFAR-half and VGG-16-CIFAR-quarter come from the bundles in `examples/bundles`. The bundles
of digits and ResNet-20 are not in the repository: they are trained on images that are not there
either, and training in floating point differs between processors in the last bits. Here these two
have the layers of the real networks and seeded random integers in place of everything that is
learnt, so that not a bit depends on a floating-point result. The images are seeded integers too.

Counts without ZAP do not depend on weights or images. They depend on the layers' shapes and a
little on where the program lies in memory, because bursts end at multiples of 4 KiB. So they must
equal those of the real networks in `docs/results/bench/counted`. Counts with ZAP depend on which
activations are skipped; those of these bundles and images are kept in `COUNTED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod
from pathlib import Path

import torch
from torch import Tensor

from compiler.build import compile_bundle
from compiler.costs import LATENCY
from compiler.program import DENSE
from golden import arithmetic
from golden.bundle import Bundle
from golden.layers import Predictor, scores
from golden.manifest import LayerChoice, OperatingPoint, PredictorNode
from golden.network import Network
from golden.pattern import MASKS
from hw.contract.config import PRESETS, Config
from quant.frontend.lowering import lower
from quant.networks.registry import MODELS
from quant.quantise.integer_network import quantise
from quant.runtime.progress import Reporter
from tb.exchange.core_files import Run
from tb.random.draws import Draw
from tb.runs import core

__all__ = ["COUNTED", "FIXED_NETWORKS", "FixedNetwork", "Totals", "count"]

COUNTED = Path(__file__).with_name("fixed_networks.json")
"""The counts of these networks with ZAP; `tests.tb.count_fixed_networks` writes this file."""

Totals = dict[str, dict[str, int]]
"""Layer -> counter -> count."""

_SEED = 1
_CLASSES = [str(number) for number in range(10)]
_MEMORY_END = 8 << 20
"""Enough for each network, so that networks on the same core share a build of the simulator."""
_BLOCK = 4
"""Width and height of the squares of one colour in an image: neighbours are alike, as in photos."""
_SPREAD = 123
"""Standard deviation of a sum of n random products, relative to an ofm's, over sqrt(n)."""


@dataclass(frozen=True)
class FixedNetwork:
    """A network to be counted.

    Parameters
    ----------
    config : Config
        The core that it runs on.
    shape : (channels, height, width)
        Shape of its images.
    folder : Path or None
        Its bundle; None where it is made of random integers.
    point : str
        The operating point at which ZAP is counted.
    points : int
        Operating points of a network made of random integers. Each takes memory, and where tensors
        lie decides a few cycles of their loads. With five, the counters of ResNet-20 without ZAP
        are those that were measured with its trained weights.
    """

    name: str
    config: Config
    shape: tuple[int, int, int]
    folder: Path | None = None
    point: str = "point0"
    points: int = 1

    def bundle(self) -> Bundle:
        """Load the bundle or make it."""
        return _integer_bundle(self) if self.folder is None else Bundle.load(self.folder)

    def image(self, bundle: Bundle) -> Tensor:
        """Draw an image, int32 (channels, height, width)."""
        signed = bundle.manifest.activations[bundle.manifest.input.tensor].signed
        channels, height, width = self.shape
        draw = Draw(torch.Generator().manual_seed(_SEED))
        blocks = draw(arithmetic.activation_range(signed), channels, height, width)
        blocks = blocks[:, ::_BLOCK, ::_BLOCK]
        return blocks.repeat_interleave(_BLOCK, 1).repeat_interleave(_BLOCK, 2).to(torch.int32)


_BUNDLES = Path("examples/bundles")

FIXED_NETWORKS = (
    FixedNetwork("digits", PRESETS["small"], (1, 16, 16)),
    FixedNetwork("resnet20", PRESETS["default"], (3, 32, 32), points=5),
    FixedNetwork(
        "alexnet-cifar-half",
        PRESETS["default"],
        (3, 32, 32),
        folder=_BUNDLES / "alexnet-cifar-half",
        point="max-drop-1",
    ),
    FixedNetwork(
        "vgg16-cifar-quarter",
        PRESETS["default"],
        (3, 32, 32),
        folder=_BUNDLES / "vgg16-cifar-quarter",
        point="max-drop-1",
    ),
)


def count(network: FixedNetwork, report: Reporter) -> tuple[Totals, Totals]:
    """Simulate a network without ZAP and with it; return every counter of every layer of both.

    Raises AssertionError where an ofm differs from golden.
    """
    bundle = network.bundle()
    image = network.image(bundle).numpy()
    program = compile_bundle(bundle, network.config, keep=True)
    runs = [
        Run(program=program, image=image, point=point, latency=LATENCY)
        for point in (DENSE, network.point)
    ]
    simulated = core.simulate(bundle, runs, "verilator", report, end=_MEMORY_END)
    assert simulated.mismatch is None, simulated.mismatch
    off, on = ({layer.name: layer.counters for layer in checks} for checks in simulated.checks)
    return off, on


def _integer_bundle(network: FixedNetwork) -> Bundle:
    """Make the layers of a built-in network, with random integers for everything that is learnt."""
    model = MODELS[network.name]
    graph = lower(model.build(len(_CLASSES)).eval(), network.shape)
    scales = dict.fromkeys(graph.shapes, 1.0)
    bundle = quantise(graph, scales, model, name=network.name, classes=_CLASSES)
    draw = Draw(torch.Generator().manual_seed(_SEED))
    dense = Bundle(bundle.manifest, _draw_tensors(draw, bundle.tensors))

    tensors = dict(dense.tensors)
    predictors, choices = {}, {}
    points = [f"point{number}" for number in range(network.points)]
    sites = [layer.name for layer in graph.zap_sites()]
    ofms = {step.node.name: step.ofm for step in Network(dense).steps(network.image(dense)[None])}
    for number, layer in enumerate(sites):
        predictor = _draw_predictor(draw, "ABCD"[number % 4], ofms[layer])
        name = f"{layer}-zap"
        for field in ("weight1", "bias1", "shift1", "weight2"):
            tensors[f"predictors.{name}.{field}"] = getattr(predictor, field)
        for field, value in (("score_scale", 1.0), ("score_offset", 0.0)):
            channels = len(predictor.threshold)
            tensors[f"predictors.{name}.{field}"] = torch.full((channels,), value).double()
        for point in points:
            tensors[f"operating_points.{point}.{layer}.threshold"] = predictor.threshold
        predictors[name] = PredictorNode(layer=layer, pattern=str(predictor.pattern))
        choices[layer] = LayerChoice(predictor=name, sigma=0.0)
    manifest = dense.manifest.model_copy(
        update={
            "predictors": predictors,
            "operating_points": [OperatingPoint(name=point, layers=choices) for point in points],
        }
    )
    return Bundle(manifest, tensors)


def _draw_tensors(draw: Draw, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Draw integers of the same shapes and types, so that ofms use most of their range.

    A random sum of n products has a standard deviation of about `_SPREAD` * sqrt(n) times that of
    an activation.
    """
    drawn = {}
    for name, tensor in tensors.items():
        layer, _, field = name.rpartition(".")
        weight = tensors[f"{layer}.weight"]
        spread = (isqrt(prod(weight.shape[1:])) * _SPREAD).bit_length()
        values = {
            "weight": arithmetic.S8,
            "bias": (-(64 << spread), 64 << spread),
            "multiplier": (1 << 15, (1 << arithmetic.MULTIPLIER_BITS) - 1),
            "shift": (16 + spread - 1, 16 + spread),
            "shortcut_multiplier": (1 << 15, (1 << arithmetic.MULTIPLIER_BITS) - 1),
            "shortcut_shift": (max(16 - spread, arithmetic.SHIFT_MIN),) * 2,
        }[field]
        drawn[name] = draw(values, *tensor.shape).to(tensor.dtype)
    return drawn


def _draw_predictor(draw: Draw, mask: str, ofm: Tensor) -> Predictor:
    """Draw a predictor that skips 10 to 90 % of each channel's `I_t` in this ofm."""
    channels = ofm.shape[1]
    predictor = Predictor(
        pattern=MASKS[mask],
        weight1=draw(arithmetic.S8, channels, 3, 3).to(torch.int8),
        bias1=draw((-5_000, 5_000), channels).to(torch.int32),
        shift1=draw((6, 8), channels).to(torch.int32),
        weight2=draw(arithmetic.S8, channels, 3, 3).to(torch.int8),
        threshold=torch.zeros(channels, dtype=torch.int32),
    )
    computed = torch.from_numpy(predictor.pattern.mask(*ofm.shape[2:]))
    ranked = scores(predictor, ofm.masked_fill(~computed, 0))[0, :, ~computed].sort(1).values
    shares = draw((10, 90), channels)
    threshold = ranked.gather(1, (shares * ranked.shape[1] // 100)[:, None])[:, 0]
    return Predictor(**{**vars(predictor), "threshold": threshold.to(torch.int32)})
