"""Chooses how a layer is cut: the patch and the strips with which the cycle model is fastest.

More strips than are needed cost a little each, because weights are read again and the array waits
at either end of a strip. They save time where a strip's ifm is loaded while the strip above is
computed.
"""

from __future__ import annotations

from functools import partial
from math import inf

from compiler.cycles import TileCycles, tile_cycles
from compiler.lowering.layer_lowering import LoweredLayer, all_cuts, lower_layer, with_steps
from compiler.lowering.tile_words import engine_words, ifm_words, ofm_words
from compiler.memory_layout import Place
from golden.layers import Conv, Pool, Predictor
from hw.contract.config import Config

__all__ = ["KEPT", "estimated_cycles", "lower_fastest"]

KEPT = 0.25
"""Share of the activations of `I_t` that a ZAP is expected to keep."""
_AS_GOOD = 1.005
"""A cut that takes up to this many times the fewest cycles is as good as the fastest: the weights
that more strips read again are traffic, and take energy."""
_STOP = 1.05
"""Once a cut takes this many times the cycles of one with fewer strips, more are not tried."""


def lower_fastest(
    config: Config,
    conv: Conv,
    ifm_shape: tuple[int, int, int],
    *,
    ifm_signed: bool,
    residual_signed: bool = False,
    predictor: Predictor | None = None,
    pool: Pool | None = None,
) -> LoweredLayer:
    """Lower one convolution like `lower_layer`, with the cut that takes the fewest cycles.

    Among cuts that are as good as the fastest, it takes one with the fewest strips.
    """
    conv = with_steps(config, conv, ifm_shape[0])
    lower = partial(
        lower_layer,
        config,
        conv,
        ifm_shape,
        ifm_signed=ifm_signed,
        residual_signed=residual_signed,
        predictor=predictor,
        pool=pool,
    )
    candidates: list[tuple[float, LoweredLayer]] = []
    for cuts_of_patch in all_cuts(config, conv, ifm_shape, pool, zap=predictor is not None):
        least = inf
        for cut in cuts_of_patch:
            if cut.fits(config):
                layer = lower(cut=cut)
                cycles = estimated_cycles(layer, ifm_shape)
                candidates.append((cycles, layer))
                least = min(cycles, least)
                if cycles > _STOP * least:
                    break
    if not candidates:
        return lower()  # raises, and says what is missing
    fewest = min(cycles for cycles, _ in candidates)
    good = [candidate for candidate in candidates if candidate[0] <= _AS_GOOD * fewest]
    return min(good, key=lambda candidate: (len(candidate[1].tiles), candidate[0]))[1]


def estimated_cycles(layer: LoweredLayer, ifm_shape: tuple[int, int, int]) -> float:
    """Cycles of all its tiles by the model. Strips of the same size are taken to be the same."""
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
                **ifm_words(layer, tile, ifm),
                **ofm_words(layer, strip, ofm),
                "early": int(tile.early),
                "residual_stride": 1 if shortcut is None else shortcut.stride,
            }
            known[tile.early, *shape] = tile_cycles(config, words, KEPT)
        cycles = known[tile.early, *shape]
        total += cycles.behind(before).elapsed
        before = cycles
    return total
