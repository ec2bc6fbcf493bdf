"""The compactor gathers pixels into vectors of P, channel by channel."""

import random
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from hw.engine.compactor import Compactor
from tests.hw.amaranth_testbench import get, pauses, put, simulate
from tests.hw.small_configs import TINY

Pixel = dict[str, int]


def items_of(channels: list[list[Pixel]]) -> list[dict[str, Any]]:
    """The stream of items: every channel's pixels, and an end mark after each."""
    items: list[dict[str, Any]] = []
    for pixels in channels:
        items += [{"pixel": pixel, "end": 0} for pixel in pixels]
        items.append({"end": 1})
    return items


def vectors_of(channels: list[list[Pixel]], pes: int) -> list[tuple[list[Pixel], bool]]:
    """(pixels, whether the channel ends): the full vectors, then the rest, which may be empty."""
    vectors = []
    for pixels in channels:
        whole = len(pixels) // pes * pes
        vectors += [(pixels[at : at + pes], False) for at in range(0, whole, pes)]
        vectors.append((pixels[whole:], True))
    return vectors


def read(vector: Any) -> tuple[list[Pixel], bool]:
    assert vector.mask & (vector.mask + 1) == 0, "places are filled from the lowest up"
    filled = [vector.pixels[place] for place in range(vector.mask.bit_count())]
    return [{"index": p.index, "base": p.base} for p in filled], bool(vector.end)


@pytest.mark.parametrize("pes", [1, 2, 4, 8])
def test_vectors_hold_every_pixel_in_order_under_any_pauses(pes: int) -> None:
    rng = random.Random(pes)
    channels = [
        [
            {"index": rng.randrange(TINY.ofm_words), "base": rng.randrange(TINY.ifm_words)}
            for _ in range(length)
        ]
        for length in [0, 0, 1, pes, pes + 1, 2 * pes, *(rng.randint(0, 30) for _ in range(30))]
    ]
    expected = vectors_of(channels, pes)
    dut = Compactor(replace(TINY, pes=pes))

    async def send(context: Any) -> None:
        await put(context, dut.items, items_of(channels), pauses(1))

    async def check(context: Any) -> None:
        received = await get(context, dut.vectors, len(expected), pauses(2))
        assert [read(vector) for vector in received] == expected
        context.set(dut.vectors.ready, 1)
        for _ in range(5):
            _, _, valid = await context.tick().sample(dut.vectors.valid)
            assert not valid

    simulate(dut, send, check)


@pytest.mark.parametrize("pes", [1, 2, 4, 8])
def test_without_compaction_a_vector_holds_what_is_left_of_p_neighbours(pes: int) -> None:
    rng = random.Random(pes)
    channels = [
        [{"index": index, "base": 3 * index} for index in range(size) if rng.random() < share]
        for size, share in [(0, 0), (1, 1), (4 * pes, 1), (4 * pes + 1, 1), (60, 0.5), (90, 0.2)]
    ]
    expected = []
    for pixels in channels:
        blocks = [list(block) for _, block in groupby(pixels, lambda p: p["index"] // pes)] or [[]]
        expected += [(block, False) for block in blocks[:-1]] + [(blocks[-1], True)]
    dut = Compactor(replace(TINY, pes=pes, compact=False))

    async def send(context: Any) -> None:
        await put(context, dut.items, items_of(channels), pauses(1))

    async def check(context: Any) -> None:
        received = await get(context, dut.vectors, len(expected), pauses(2))
        assert [read(vector) for vector in received] == expected

    simulate(dut, send, check)


@pytest.mark.parametrize("pes", [1, 2, 8])
def test_a_pixel_is_taken_every_cycle_if_vectors_are(pes: int) -> None:
    dut = Compactor(replace(TINY, pes=pes))

    async def send(context: Any) -> None:
        context.set(dut.vectors.ready, 1)
        context.set(dut.items.valid, 1)
        for number in range(40):
            context.set(dut.items.payload.end, number % 7 == 6)
            _, _, ready = await context.tick().sample(dut.items.ready)
            assert ready

    simulate(dut, send)
