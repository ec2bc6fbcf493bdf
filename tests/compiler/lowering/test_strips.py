"""Strips make up the layer, each has all that it needs, and there are as few as fit."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from compiler.lowering.layer_lowering import LoweredLayer, lower_layer
from compiler.lowering.strips import HALO, Strip, buffered_rows, cut_strips
from golden.errors import UserError
from golden.layers import Conv, Pool, Predictor
from golden.pattern import MASKS
from hw.contract.config import Config
from tests.hw.small_configs import TINY

PLAIN = Pool(name="", kernel=(1, 1), stride=(1, 1))


def conv(kernel: int = 3, stride: int = 1, padding: int = 1, channels: int = 4) -> Conv:
    return Conv(
        name="conv7",
        weight=torch.ones((4, channels, kernel, kernel), dtype=torch.int8),
        bias=torch.zeros(4, dtype=torch.int32),
        multiplier=torch.ones(4, dtype=torch.int32),
        shift=torch.ones(4, dtype=torch.int32),
        stride=(stride, stride),
        padding=(padding,) * 4,
    )


def zap() -> Predictor:
    return Predictor(
        pattern=MASKS["A"],
        weight1=torch.ones((4, 3, 3), dtype=torch.int8),
        bias1=torch.zeros(4, dtype=torch.int32),
        shift1=torch.zeros(4, dtype=torch.int32),
        weight2=torch.ones((4, 3, 3), dtype=torch.int8),
        threshold=torch.zeros(4, dtype=torch.int32),
    )


def within(inner: range, outer: range, height: int) -> bool:
    """Say whether rows are in a range; rows outside the map are not looked at."""
    return max(inner.start, 0) >= outer.start and min(inner.stop, height) <= outer.stop


@pytest.mark.parametrize("with_zap", [False, True], ids=["dense", "zap"])
@pytest.mark.parametrize("seed", range(40))
def test_a_strip_has_what_it_needs_and_all_of_them_are_the_layer(seed: int, with_zap: bool) -> None:
    rng = random.Random(seed)
    kernel, pooled = rng.randint(1, 11), rng.randint(1, 4)
    layer = conv(kernel, rng.choice([1, 2, 4]), rng.randrange(kernel * 3 // 2 + 1))
    pool = Pool(
        name="pool",
        kernel=(pooled, pooled),
        stride=(rng.randint(1, 4), 1),
        padding=(rng.randrange(pooled), rng.randrange(pooled), 0, 0),
    )
    height = rng.randint(pooled, 40)
    total, _ = pool.output_size(height, pooled)
    strips = cut_strips(layer, pool, height, rng.randint(1, total), zap=with_zap)

    assert [row for strip in strips for row in strip.pooled] == list(range(total))
    assert [row for strip in strips for row in strip.own] == list(range(height))
    assert strips[0].region.start == strips[0].restored == strips[-1].spilled == 0
    for above, below in pairwise(strips):
        shared = [row for row in above.region if row in below.region]
        assert above.spilled == below.restored == len(shared)
        assert list(above.region)[len(above.region) - len(shared) :] == shared
        assert list(below.region)[: len(shared)] == shared
    halo = HALO if with_zap else 0
    for strip in strips:
        assert len(strip.own) > 0
        own = range(strip.own.start - halo, strip.own.stop + halo)
        assert within(own, strip.region, height)
        for row in strip.pooled:
            first = row * pool.stride[0] - pool.padding[0]
            window = range(first, first + pooled)
            assert within(window, strip.region, height)
            assert min(window.stop, height) <= strip.own.stop, "of finished rows only"
        for row in range(strip.own.start, strip.region.stop):
            first = row * layer.stride[0] - layer.padding[0]
            assert first in strip.ifm
            assert first + kernel - 1 in strip.ifm


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_strip_keeps_its_rows_while_the_next_is_loaded_or_that_waits(
    kernel: int, stride: int
) -> None:
    """A word that is loaded early is not one that the strip above reads, wherever it lies."""
    seen = set()
    for ofm_words in (16, 32, 64, 128):
        config = replace(TINY, ifm_words=256, ofm_words=ofm_words)
        lowered = lower_layer(config, conv(kernel, stride), (4, 48, 8), ifm_signed=False)

        whole = lowered.tiles[0].strip.ifm

        def words(rows: range, whole: range = whole, lowered: LoweredLayer = lowered) -> set[int]:
            first = [(row - whole.start) // whole.step * lowered.row_words for row in rows]
            return {(at + n) % 256 for at in first for n in range(lowered.row_words)}

        assert not lowered.tiles[0].early
        for above, below in pairwise(lowered.tiles):
            apart = not words(above.strip.ifm) & words(below.strip.load)
            assert apart or not below.early
            seen.add(below.early)
    assert True in seen


def test_both_strips_rows_are_counted_once() -> None:
    above, below = cut_strips(conv(), PLAIN, 8, 4, zap=False)
    assert (list(above.ifm), list(below.load)) == ([*range(-1, 5)], [5, 6, 7, 8])
    assert buffered_rows(above, below) == 10


def strips_of(
    layer: Conv,
    shape: tuple[int, int, int],
    predictor: Predictor | None = None,
    config: Config = TINY,
) -> list[Strip]:
    lowered = lower_layer(config, layer, shape, ifm_signed=False, predictor=predictor)
    return [tile.strip for tile in lowered.tiles]


@pytest.mark.parametrize(
    ("height", "predictor", "own"),
    [
        (16, None, [16]),
        (17, None, [9, 8]),
        (32, None, [16, 16]),
        (33, None, [11, 11, 11]),
        (17, zap(), [9, 8]),
        (24, zap(), [12, 12]),
        (28, zap(), [14, 14]),
        (29, zap(), [10, 10, 9]),
        (40, zap(), [10, 10, 10, 10]),
    ],
)
def test_as_few_strips_as_fit_a_bank_of_16_rows(
    height: int, predictor: Predictor | None, own: list[int]
) -> None:
    strips = strips_of(conv(), (4, height, 8), predictor)
    assert [len(strip.own) for strip in strips] == own


def test_the_ifm_buffer_limits_strips_as_well() -> None:
    """24 rows of 10 words each, of which a strip needs two more than it has rows of its own."""
    roomy = replace(TINY, ofm_words=256)
    assert len(strips_of(conv(channels=8), (8, 24, 8), config=roomy)) == 1
    strips = strips_of(conv(channels=8), (8, 24, 8), config=replace(roomy, ifm_words=128))
    assert [len(strip.ifm) for strip in strips] == [10, 10, 10]


def test_a_window_as_large_as_the_map_is_not_cut() -> None:
    whole = Pool(name="pool", kernel=(17, 8), stride=(1, 1))
    with pytest.raises(
        UserError, match=r"layer 'conv7' needs 136 pixels of ofm .*'pool'.*ofm_words = 128"
    ):
        lower_layer(TINY, conv(), (4, 17, 8), ifm_signed=False, pool=whole)


@pytest.mark.parametrize(("kernel", "step"), [((1, 3), 2), ((3, 1), 1)])
def test_rows_that_no_kernel_reads_are_left_out(kernel: tuple[int, int], step: int) -> None:
    """Whether there are any depends on the rows of the kernel, not on its columns."""
    layer = replace(
        conv(stride=2, padding=0),
        weight=torch.ones((4, 4, *kernel), dtype=torch.int8),
        stride=(2, 3),
    )
    for strip in cut_strips(layer, PLAIN, 8, 4, zap=False):
        assert strip.ifm.step == strip.load.step == step
