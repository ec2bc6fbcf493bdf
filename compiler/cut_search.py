"""Chooses how a layer is cut: the patch and the strips with which the cycle model is fastest.

More strips than fit cost a little each: weights are read again, an array without work at either
end. They save what a strip's ifm takes where that is loaded while the strip above is computed.
"""

from __future__ import annotations

from functools import partial
from math import inf

from compiler.cycles import TileCycles, tile_cycles
from compiler.layer_lowering import Lowered, cuts, lower
from compiler.memory_layout import Place
from compiler.tile_words import engine_words, ifm_words, ofm_words
from golden.layers import Conv, Pool, Predictor
from hw.contract.config import Config

__all__ = ["estimated_cycles", "lower_fastest"]

_KEPT = 0.25
"""Of the activations of `I_t`, the share that ZAP is taken to keep."""
_SAME = 1.005
"""Ways with that much more than the fewest cycles are as good: weights read again are bytes moved,
and take energy."""
_WORSE = 1.05
"""Once a way takes that much more than one of fewer strips, more strips are not tried."""


def lower_fastest(
    config: Config,
    conv: Conv,
    ifm_shape: tuple[int, int, int],
    *,
    ifm_signed: bool,
    residual_signed: bool = False,
    predictor: Predictor | None = None,
    pool: Pool | None = None,
) -> Lowered:
    """As `compiler.layer_lowering.lower`, in the way that takes the fewest cycles.

    Of ways that are as good as that, in the fewest strips.
    """

    lowered = partial(
        lower,
        config,
        conv,
        ifm_shape,
        ifm_signed=ifm_signed,
        residual_signed=residual_signed,
        predictor=predictor,
        pool=pool,
    )
    ways: list[tuple[float, Lowered]] = []
    for of_a_patch in cuts(config, conv, ifm_shape, pool, zap=predictor is not None):
        least = inf
        for how in of_a_patch:
            if how.fits(config):
                layer = lowered(how=how)
                cycles = estimated_cycles(layer, ifm_shape)
                ways.append((cycles, layer))
                least = min(cycles, least)
                if cycles > _WORSE * least:
                    break
    if not ways:
        return lowered()  # which says what is missing
    fewest = min(cycles for cycles, _ in ways)
    good = [way for way in ways if way[0] <= _SAME * fewest]
    return min(good, key=lambda way: (len(way[1].tiles), way[0]))[1]


def estimated_cycles(layer: Lowered, ifm_shape: tuple[int, int, int]) -> float:
    """What all its tiles take; strips of the same size take the same time, or nearly so."""
    config, shortcut = layer.config, layer.conv.shortcut
    ifm = Place(0, ifm_shape, config.group, signed=False)
    ofm = Place(0, (len(layer.conv.weight), *layer.pooled_size), config.group, signed=False)
    known: dict[tuple[object, ...], TileCycles] = {}
    total = 0.0
    before = None
    for tile in layer.tiles:
        strip = tile.strip
        shape = len(strip.load), len(strip.own), len(strip.region), strip.restored, strip.spilled
        if (tile.early, *shape) not in known:
            words = {
                **engine_words(tile),
                **ifm_words(layer, strip, ifm),
                **ofm_words(layer, strip, ofm),
                "early": int(tile.early),
                "residual_stride": 1 if shortcut is None else shortcut.stride,
            }
            known[tile.early, *shape] = tile_cycles(config, words, _KEPT)
        one = known[tile.early, *shape]
        total += one.behind(before).elapsed
        before = one
    return total
