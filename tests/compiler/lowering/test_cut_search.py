"""The cut that is chosen is the fastest that fits; a layer that does not fit is refused."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from compiler.lowering.cut_search import estimated_cycles, lower_fastest
from compiler.lowering.layer_lowering import LoweredLayer, all_cuts, lower_layer
from golden.errors import UserError
from golden.layers import Conv, Pool, Predictor
from golden.pattern import MASKS
from hw.contract.config import PRESETS, Config
from tests.hw.small_configs import TINY

DEFAULT = PRESETS["default"]


def conv(kernel: int, channels: tuple[int, int], stride: int = 1) -> Conv:
    """A convolution; `channels` are those of the ifm and of the ofm."""
    inputs, outputs = channels
    return Conv(
        name="conv7",
        weight=torch.ones((outputs, inputs, kernel, kernel), dtype=torch.int8),
        bias=torch.zeros(outputs, dtype=torch.int32),
        multiplier=torch.ones(outputs, dtype=torch.int32),
        shift=torch.ones(outputs, dtype=torch.int32),
        stride=(stride, stride),
        padding=(kernel // 2,) * 4,
    )


def zap(channels: int) -> Predictor:
    return Predictor(
        pattern=MASKS["A"],
        weight1=torch.ones((channels, 3, 3), dtype=torch.int8),
        bias1=torch.zeros(channels, dtype=torch.int32),
        shift1=torch.zeros(channels, dtype=torch.int32),
        weight2=torch.ones((channels, 3, 3), dtype=torch.int8),
        threshold=torch.zeros(channels, dtype=torch.int32),
    )


def early(layer: LoweredLayer) -> list[bool]:
    return [tile.early for tile in layer.tiles]


@pytest.mark.parametrize("config", [TINY, PRESETS["small"]], ids=lambda config: config.name)
@pytest.mark.parametrize("seed", range(8))
def test_no_way_that_fits_is_faster_and_none_as_fast_has_fewer_strips(
    config: Config, seed: int
) -> None:
    rng = random.Random(seed)
    kernel = rng.choice([1, 3, 3, 5])
    shape = rng.choice([1, 3, 8, 20]), rng.randint(kernel, 20), rng.randint(kernel, 20)
    layer = conv(kernel, (shape[0], rng.randint(1, 12)), rng.randint(1, 2))
    predictor = zap(len(layer.weight)) if rng.random() < 0.5 else None
    pool = Pool(name="pool", kernel=(2, 2), stride=(2, 2)) if rng.random() < 0.3 else None

    chosen = lower_fastest(config, layer, shape, ifm_signed=False, predictor=predictor, pool=pool)
    ways = [
        lower_layer(config, layer, shape, ifm_signed=False, predictor=predictor, pool=pool, cut=how)
        for of_a_patch in all_cuts(config, layer, shape, pool, zap=predictor is not None)
        for how in of_a_patch
        if how.fits(config)
    ]
    fewest = min(estimated_cycles(way, shape) for way in ways)
    assert estimated_cycles(chosen, shape) <= 1.005 * fewest
    for way in ways:
        if estimated_cycles(way, shape) <= fewest:
            assert len(chosen.tiles) <= len(way.tiles)


def test_a_layer_that_fits_is_cut_where_that_hides_what_it_loads() -> None:
    layer, shape = conv(3, (64, 64)), (64, 28, 28)
    assert len(lower_layer(DEFAULT, layer, shape, ifm_signed=False).tiles) == 1
    chosen = lower_fastest(DEFAULT, layer, shape, ifm_signed=False)
    assert len(chosen.tiles) > 1
    assert all(early(chosen)[1:])
    whole = lower_layer(DEFAULT, layer, shape, ifm_signed=False)
    assert estimated_cycles(chosen, shape) < 0.99 * estimated_cycles(whole, shape)


def test_strips_are_smaller_where_two_of_them_fit_then() -> None:
    layer, shape = conv(3, (64, 64)), (64, 56, 56)
    assert early(lower_layer(DEFAULT, layer, shape, ifm_signed=False)) == [False, False]
    assert all(early(lower_fastest(DEFAULT, layer, shape, ifm_signed=False))[1:])


def test_a_layer_that_waits_for_its_weights_is_not_cut() -> None:
    layer, shape = conv(3, (512, 512)), (512, 4, 4)
    assert len(lower_fastest(DEFAULT, layer, shape, ifm_signed=False).tiles) == 1


def test_what_does_not_fit_is_said() -> None:
    tight = replace(TINY, ifm_words=16)
    with pytest.raises(UserError, match=r"layer 'conv7' needs .* words of ifm.*ifm_words = 16"):
        lower_fastest(tight, conv(3, (8, 4)), (8, 20, 20), ifm_signed=False)
