"""Random tensors, convolutions, shortcuts, poolings and predictors.

Random layers and random networks are made of these. Everything comes from seeded generators of
integers, so a seed gives the same on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from golden import arithmetic
from golden.layers import Conv, Pool, Predictor, Shortcut
from golden.padding import NO_PADDING, Padding
from golden.pattern import MAX_PERIOD, Pattern

__all__ = [
    "CORNERS",
    "Draw",
    "draw_conv",
    "draw_groups",
    "draw_padding",
    "draw_pool",
    "draw_predictor",
    "draw_shortcut",
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
"""The corner cases that a layer can be; everything else about it stays random."""


@dataclass(frozen=True)
class Draw:
    """Draws random integer tensors from one generator."""

    generator: torch.Generator

    def __call__(self, limits: tuple[int, int], *shape: int) -> Tensor:
        low, high = limits
        return torch.randint(low, high + 1, shape, generator=self.generator)

    def one_of(self, values: tuple[int, int], *shape: int) -> Tensor:
        """Draw a tensor whose elements are one of two values each."""
        return torch.tensor(values)[self((0, 1), *shape)]


def draw_conv(
    draw: Draw,
    rng: random.Random,
    name: str,
    shape: tuple[int, int, int, int],
    *,
    corner: str = "any",
    stride: tuple[int, int] = (1, 1),
    padding: Padding = NO_PADDING,
    groups: int = 1,
    signed_output: bool = False,
) -> Conv:
    """Draw a convolution for a corner case; `shape` is that of its weights.

    The shape is (c_o, c_i / groups, k_h, k_w).
    """
    channels = shape[0]
    weight = draw(arithmetic.S8, *shape)
    if corner == "extreme weights":
        weight = draw.one_of(arithmetic.S8, *shape)
    spread = _spread(shape)
    bias = draw((-spread * 128, spread * 128), channels)
    if corner == "saturating":
        bias = draw.one_of(arithmetic.signed_range(arithmetic.ACC_BITS), channels)
    multiplier = draw((0, (1 << arithmetic.MULTIPLIER_BITS) - 1), channels)
    # Mostly sums spread over the range of the ofm; sometimes the shift is anything.
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
        groups=groups,
        signed_output=signed_output,
    )


def draw_groups(rng: random.Random, group: int) -> tuple[int, int, int]:
    """Draw how many groups a convolution has, and how many channels each reads and makes.

    Most are depthwise, and some fill planes of `group` channels with whole groups or with parts.
    """
    if rng.random() < 0.6:
        return rng.randint(2, 3 * group + 3), 1, rng.choice((1, 1, 1, 2, 3))
    wide = rng.choice((2, group // 2, group, rng.randint(1, group + 3)))
    return rng.randint(2, 5), wide, rng.choice((wide, wide, rng.randint(1, group + 3)))


def draw_padding(rng: random.Random, kernel: tuple[int, int], *, wide: bool = True) -> Padding:
    """Draw the padding of each side: mostly less than the kernel and alike on opposite sides.

    Where `wide` padding is allowed, a side has now and then as much as the kernel or more.
    """

    def side(k: int) -> int:
        return rng.randint(k, 2 * k + 1) if wide and rng.random() < 0.1 else rng.randrange(k)

    top, left = side(kernel[0]), side(kernel[1])
    bottom, right = top, left
    if rng.random() < 0.4:
        bottom, right = side(kernel[0]), side(kernel[1])
    return top, bottom, left, right


def _spread(shape: Sequence[int]) -> int:
    """Return how far sums of that many products spread, in units of about 128."""
    return shape[1] * shape[2] * shape[3] * 64


def draw_shortcut(
    draw: Draw, rng: random.Random, layer: Conv, stride: int, channel_offset: int
) -> Shortcut:
    """Draw a shortcut into a convolution."""
    channels = layer.weight.shape[0]
    multiplier = draw((0, (1 << arithmetic.MULTIPLIER_BITS) - 1), channels)
    # Mostly the residual is about as large as the sums, or almost zero beside them.
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
    """Draw a max or average pooling whose window fits an ofm of that size, or covers all of it."""
    if rng.random() < 0.2:
        kernel = ofm
        padding = NO_PADDING
    else:
        kernel = rng.randint(1, min(4, ofm[0])), rng.randint(1, min(4, ofm[1]))
        padding = draw_padding(rng, kernel, wide=False)
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
    """Draw a predictor of that many channels for a corner case."""
    period = rng.randint(1, MAX_PERIOD)
    pattern = Pattern(period, rng.randint(1, (1 << period) - 1), rng.randrange(period))
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
