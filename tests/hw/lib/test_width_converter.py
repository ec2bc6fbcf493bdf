"""Converters between beats and words: nothing is lost or reordered, whatever the two ends do."""

import random
from typing import Any

import pytest

from hw.lib.width_converter import Downsizer, Upsizer
from tests.hw.amaranth_testbench import Resettable, get, pauses, put, simulate

BITS = 8


def words_of(beats: list[int], ratio: int) -> list[int]:
    """The words that beats make, the first beat lowest."""
    return [
        sum(beat << BITS * n for n, beat in enumerate(beats[at : at + ratio]))
        for at in range(0, len(beats), ratio)
    ]


@pytest.mark.parametrize("ratio", [1, 2, 4])
@pytest.mark.parametrize("converter", [Upsizer, Downsizer])
def test_beats_and_words_match(converter: type[Upsizer] | type[Downsizer], ratio: int) -> None:
    rng = random.Random(ratio)
    beats = [rng.getrandbits(BITS) for _ in range(60 * ratio)]
    words = words_of(beats, ratio)
    dut = converter(BITS, ratio)
    sent, expected = (beats, words) if converter is Upsizer else (words, beats)

    async def send(context: Any) -> None:
        await put(context, dut.i, sent, pauses(1))

    async def check(context: Any) -> None:
        assert await get(context, dut.o, len(expected), pauses(2)) == expected

    simulate(Resettable(dut), send, check)


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_a_beat_is_taken_every_cycle_while_words_are(ratio: int) -> None:
    dut = Upsizer(BITS, ratio)

    async def check(context: Any) -> None:
        context.set(dut.i.valid, 1)
        context.set(dut.o.ready, 1)
        for _ in range(10 * ratio):
            assert context.get(dut.i.ready)
            await context.tick()

    simulate(Resettable(dut), check)


@pytest.mark.parametrize("ratio", [2, 4])
def test_readiness_for_beats_does_not_depend_on_that_for_words(ratio: int) -> None:
    dut = Upsizer(BITS, ratio)

    async def check(context: Any) -> None:
        assert not context.get(dut.waiting)
        context.set(dut.i.valid, 1)
        for _ in range(3 * ratio):
            ready = []
            for taken in (0, 1, 0):
                context.set(dut.o.ready, taken)
                ready.append(context.get(dut.i.ready))
            assert len(set(ready)) == 1
            await context.tick()
        assert context.get(dut.waiting)
        assert not context.get(dut.i.ready)

    simulate(Resettable(dut), check)
