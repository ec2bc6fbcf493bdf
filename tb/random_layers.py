"""`make sim-random`: random layers on the simulated Verilog, compared bit for bit.

    python -m tb.random_layers --n 200 --seed 1 --sim verilator --config small

Shapes, strides, patterns, weights and stalls are random; every `len(CORNERS)`-th layers are corner
cases: 1x1 maps, single rows, maps smaller than the pattern's period, everything skipped, nothing
skipped, sums that saturate, extreme weights. Ends with `N activations compared, D differ`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from golden import arithmetic
from golden.errors import UserError, run_cli
from golden.layers import Conv, Pool, Predictor, Shortcut
from golden.pattern import MAX_PERIOD, Pattern
from hw.contract.config import PRESETS, Config
from tb.runs import engine
from tb.runs.engine import Check, Layer
from tb.runs.progress import reporting
from tb.sim import verdict
from tb.simulators.toolchain import SIMULATORS, Simulator

__all__ = [
    "CORNERS",
    "Draw",
    "draw_conv",
    "draw_pool",
    "draw_predictor",
    "draw_shortcut",
    "positive",
    "random_layer",
    "random_layers",
    "run_batches",
]

CORNERS = (
    "any",
    "one pixel",
    "one row",
    "one column",
    "below the period",
    "all skipped",
    "none skipped",
    "saturating",
    "extreme weights",
    "extreme predictor",
    "signed",
    "residual",
    "pooled",
    "no ZAP",
)
"""What a random layer may be made to be; everything else about it stays random."""

_BATCH = 10
"""Layers of one simulation."""


@dataclass(frozen=True)
class Draw:
    """Random tensors from one generator."""

    generator: torch.Generator

    def __call__(self, limits: tuple[int, int], *shape: int) -> Tensor:
        low, high = limits
        return torch.randint(low, high + 1, shape, generator=self.generator)

    def one_of(self, values: tuple[int, int], *shape: int) -> Tensor:
        """Each element is one of two."""
        return torch.tensor(values)[self((0, 1), *shape)]


def random_layer(config: Config, rng: random.Random, corner: str, name: str) -> Layer:
    """A random layer that fits `config`."""
    while True:
        try:
            return _draw_layer(config, rng, corner, name)
        except UserError:
            continue  # too large for the configuration: the door says so, draw again


def random_layers(config: Config, count: int, seed: int) -> list[Layer]:
    """`count` random layers, each corner in turn."""
    rng = random.Random(seed)
    return [
        random_layer(config, rng, corner := CORNERS[i % len(CORNERS)], f"{i} ({corner})")
        for i in range(count)
    ]


def _draw_layer(config: Config, rng: random.Random, corner: str, name: str) -> Layer:
    draw = Draw(torch.Generator().manual_seed(rng.getrandbits(32)))
    largest = rng.choice((3, 7, 7, 11))
    kernel = rng.randint(1, largest), rng.randint(1, largest)
    if rng.random() < 0.5:
        kernel = kernel[0], kernel[0]
    stride = rng.choice((1, 1, 2, 4)), rng.choice((1, 1, 2, 4))
    padding = rng.randrange(kernel[0]), rng.randrange(kernel[1])
    ofm = rng.randint(1, 12), rng.randint(1, 14)
    if corner == "one pixel":
        ofm = 1, 1
    elif corner == "one row":
        ofm = 1, rng.randint(1, 30)
    elif corner == "one column":
        ofm = rng.randint(1, 30), 1
    elif corner == "below the period":
        ofm = rng.randint(1, 4), rng.randint(1, 4)
    height, width = (
        (size - 1) * step + k - 2 * pad + rng.randrange(step)
        for size, step, k, pad in zip(ofm, stride, kernel, padding, strict=True)
    )
    if height < 1 or width < 1:
        raise UserError("padding alone is larger than the map")
    in_channels = rng.choice((1, 2, 3, 5, 8, 13, 16, 24, rng.randint(1, 2 * config.lanes + 3)))
    channels = rng.randint(1, 2 * config.group + 3)
    signed_ifm = corner == "signed" or rng.random() < 0.2
    signed_ofm = corner == "signed"
    has_zap = corner != "no ZAP" and not signed_ofm and config.predictor

    ifm = draw(arithmetic.activation_range(signed_ifm), in_channels, height, width)
    if corner == "extreme weights":
        ifm = draw.one_of(arithmetic.activation_range(signed_ifm), in_channels, height, width)
    layer = draw_conv(
        draw,
        rng,
        name,
        (channels, in_channels, *kernel),
        corner=corner,
        stride=stride,
        padding=padding,
        signed_output=signed_ofm,
    )
    pooled = corner == "pooled" or rng.random() < 0.2
    signed_residual = rng.random() < 0.5
    residual = None
    if corner == "residual" or rng.random() < 0.2:
        step = rng.randint(1, 2)
        present = rng.randint(1, channels)
        size = (extent * step - rng.randrange(step) for extent in ofm)
        residual = draw(arithmetic.activation_range(signed_residual), present, *size)
        offset = rng.randint(0, channels - present)
        layer = replace(layer, shortcut=draw_shortcut(draw, rng, layer, step, offset))
    return Layer.prepare(
        config,
        layer,
        ifm.to(torch.int32),
        ifm_signed=signed_ifm,
        residual=None if residual is None else residual.to(torch.int32),
        residual_signed=signed_residual,
        predictor=draw_predictor(draw, rng, corner, channels) if has_zap else None,
        pool=draw_pool(rng, ofm, signed_ofm) if pooled else None,
        pauses=(rng.choice((0.0, 0.3, 0.9)), rng.choice((0.0, 0.3, 0.9))),
    )


def draw_conv(
    draw: Draw,
    rng: random.Random,
    name: str,
    shape: tuple[int, int, int, int],
    *,
    corner: str = "any",
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    signed_output: bool = False,
) -> Conv:
    """A convolution with weights of that shape, (c_o, c_i, k_h, k_w), its corner regarded."""
    channels = shape[0]
    weight = draw(arithmetic.S8, *shape)
    if corner == "extreme weights":
        weight = draw.one_of(arithmetic.S8, *shape)
    spread = _spread(shape)
    bias = draw((-spread * 128, spread * 128), channels)
    if corner == "saturating":
        bias = draw.one_of(arithmetic.signed_range(arithmetic.ACC_BITS), channels)
    multiplier = draw((0, (1 << arithmetic.MULTIPLIER_BITS) - 1), channels)
    # Mostly such that sums spread over the range of the ofm; sometimes anything.
    fitting = 15 + (spread * 16).bit_length() - 8
    shift = draw((fitting - 2, fitting + 3), channels)
    if rng.random() < 0.2:
        shift = draw((arithmetic.SHIFT_MIN, arithmetic.SHIFT_MAX), channels)
    shift = shift.clip(arithmetic.SHIFT_MIN, arithmetic.SHIFT_MAX)
    return Conv(
        name=name,
        weight=weight.to(torch.int8),
        bias=bias.clip(*arithmetic.signed_range(arithmetic.ACC_BITS)).to(torch.int32),
        multiplier=multiplier.to(torch.int32),
        shift=shift.to(torch.int32),
        stride=stride,
        padding=padding,
        signed_output=signed_output,
    )


def _spread(shape: Sequence[int]) -> int:
    """What sums of that many products spread over, in units of 128 or so."""
    return shape[1] * shape[2] * shape[3] * 64


def draw_shortcut(
    draw: Draw, rng: random.Random, layer: Conv, stride: int, channel_offset: int
) -> Shortcut:
    """A shortcut into a convolution."""
    channels = layer.weight.shape[0]
    multiplier = draw((0, (1 << arithmetic.MULTIPLIER_BITS) - 1), channels)
    # Mostly of the size of the sums, or of nothing at all.
    fitting = max(arithmetic.SHIFT_MIN, 24 - (_spread(layer.weight.shape) * 16).bit_length())
    shift = draw((fitting, fitting + 3), channels)
    if rng.random() < 0.2:
        shift = draw((arithmetic.SHIFT_MIN, arithmetic.SHIFT_MAX), channels)
    return Shortcut(
        multiplier=multiplier.to(torch.int32),
        shift=shift.to(torch.int32),
        stride=stride,
        channel_offset=channel_offset,
    )


def draw_pool(rng: random.Random, ofm: tuple[int, int], signed: bool) -> Pool:
    """Max or average pooling of windows that fit an ofm of that size; sometimes all of it."""
    if rng.random() < 0.2:
        kernel = ofm
        padding = 0, 0
    else:
        kernel = rng.randint(1, min(4, ofm[0])), rng.randint(1, min(4, ofm[1]))
        padding = rng.randint(0, kernel[0] // 2), rng.randint(0, kernel[1] // 2)
    average = None
    if rng.random() < 0.5:
        scale = np.array(rng.uniform(0.5, 1.5) / (kernel[0] * kernel[1]))
        multiplier, shift = arithmetic.split_scale(scale)
        average = int(multiplier), int(shift)
        if rng.random() < 0.2:
            average = (
                rng.getrandbits(arithmetic.MULTIPLIER_BITS),
                rng.randint(arithmetic.SHIFT_MIN, arithmetic.SHIFT_MAX),
            )
    return Pool(
        name="pool",
        kernel=kernel,
        stride=(rng.randint(1, 3), rng.randint(1, 3)),
        padding=padding,
        average=average,
        signed=signed,
    )


def draw_predictor(draw: Draw, rng: random.Random, corner: str, channels: int) -> Predictor:
    """A predictor of that many channels, its corner regarded."""
    period = rng.randint(1, MAX_PERIOD)
    pattern = Pattern(period, rng.randint(1, (1 << period) - 1))
    if rng.random() < 0.5:
        pattern = Pattern.parse(rng.choice("ABCD"))
    weight1, weight2 = (draw(arithmetic.S8, channels, 3, 3) for _ in range(2))
    bias1 = draw((-50_000, 50_000), channels)
    shift1 = draw((4, 11), channels)
    threshold = draw((-60_000, 60_000), channels)
    low, high = arithmetic.signed_range(arithmetic.SCORE_BITS)
    if corner == "extreme predictor":
        weight1, weight2 = (draw.one_of(arithmetic.S8, channels, 3, 3) for _ in range(2))
        bias1 = draw.one_of(arithmetic.signed_range(arithmetic.BIAS1_BITS), channels)
        shift1 = draw((0, arithmetic.PREDICTOR_SHIFT_MAX), channels)
    elif corner == "all skipped":
        threshold = torch.full((channels,), high)
    elif corner == "none skipped":
        threshold = torch.full((channels,), low)
    return Predictor(
        pattern=pattern,
        weight1=weight1.to(torch.int8),
        bias1=bias1.to(torch.int32),
        shift1=shift1.to(torch.int32),
        weight2=weight2.to(torch.int8),
        threshold=threshold.to(torch.int32),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="tb.random_layers", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=200, help="how many layers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator")
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    arguments = parser.parse_args()
    config = Config.load(arguments.config)
    layers = random_layers(config, arguments.n, arguments.seed)
    checks = run_batches(config, arguments.sim, layers, arguments.seed)
    console = Console()
    console.print(
        f"{len(checks)} random layers on zapcore_{config.name}, {arguments.sim}, "
        f"seed {arguments.seed}",
        highlight=False,
    )
    return verdict(checks, console)


def run_batches(config: Config, sim: Simulator, layers: Sequence[Layer], seed: int) -> list[Check]:
    """Run layers in simulations of a few each, two at a time."""
    batches = [layers[i : i + _BATCH] for i in range(0, len(layers), _BATCH)]
    done = [0] * len(batches)
    built = engine.build(config, sim)
    with reporting() as report, ThreadPoolExecutor(2) as pool:

        def one(number: int) -> list[Check]:
            def progress(count: int) -> None:
                done[number] = count
                report(f"{sim}: random layers", sum(done), len(layers))

            return engine.run(built, batches[number], seed=seed + number, on_progress=progress)

        return [check for checks in pool.map(one, range(len(batches))) for check in checks]


def positive(text: str) -> int:
    """A command line's count."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    run_cli(main)
