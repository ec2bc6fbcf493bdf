"""Random layers for the engine."""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from golden import arithmetic
from golden.errors import UserError
from hw.contract.config import Config
from tb.random.draws import (
    CORNERS,
    Draw,
    draw_conv,
    draw_groups,
    draw_padding,
    draw_pool,
    draw_predictor,
    draw_shortcut,
)
from tb.runs.engine import EngineLayer

__all__ = ["random_layer", "random_layers"]


def random_layer(config: Config, rng: random.Random, corner: str, name: str) -> EngineLayer:
    """Draw a layer that fits `config`."""
    while True:
        try:
            return _draw_layer(config, rng, corner, name)
        except UserError:
            continue  # too large for the configuration: draw again


def random_layers(config: Config, count: int, seed: int) -> list[EngineLayer]:
    """Draw `count` layers that take the corner cases in turn."""
    rng = random.Random(seed)
    return [
        random_layer(config, rng, corner := CORNERS[i % len(CORNERS)], f"{i} ({corner})")
        for i in range(count)
    ]


def _draw_layer(config: Config, rng: random.Random, corner: str, name: str) -> EngineLayer:
    draw = Draw(torch.Generator().manual_seed(rng.getrandbits(32)))
    largest = rng.choice((3, 7, 7, 11))
    kernel = rng.randint(1, largest), rng.randint(1, largest)
    if rng.random() < 0.5:
        kernel = kernel[0], kernel[0]
    stride = rng.choice((1, 1, 2, 4)), rng.choice((1, 1, 2, 4))
    padding = draw_padding(rng, kernel)
    beside = padding[0] + padding[1], padding[2] + padding[3]
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
        (size - 1) * step + k - pads + rng.randrange(step)
        for size, step, k, pads in zip(ofm, stride, kernel, beside, strict=True)
    )
    if height < 1 or width < 1:
        raise UserError("padding alone is larger than the map")
    in_channels = rng.choice((1, 2, 3, 5, 8, 13, 16, 24, rng.randint(1, 2 * config.lanes + 3)))
    channels = rng.randint(1, 2 * config.group + 3)
    groups, wide = 1, in_channels
    if rng.random() < 0.25:
        groups, wide, kernels = draw_groups(rng, config.group)
        in_channels, channels = groups * wide, groups * kernels
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
        (channels, wide, *kernel),
        corner=corner,
        stride=stride,
        padding=padding,
        groups=groups,
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
    return EngineLayer.prepare(
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
