"""The descriptor reader keeps the words of headers and descriptors, and names the first bad one."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    Word,
    descriptor_words,
    header_words,
)
from hw.core.descriptor_reader import DescriptorReader
from tests.hw.amaranth_testbench import pauses, put, simulate
from tests.hw.small_configs import TINY


def draw(table: Mapping[str, Word], rng: random.Random) -> dict[str, int]:
    """A value for each word, its limits among them."""
    values = {}
    for name, word in table.items():
        steps = (word.high - word.low) // word.multiple
        values[name] = word.low + word.multiple * rng.choice([0, steps, rng.randint(0, steps)])
        assert word.accepts(values[name])
    return values


def beats_of(values: Mapping[str, int], size: int) -> list[int]:
    words = [value & 0xFFFF_FFFF for value in values.values()]
    return [*words, *[0xFFFF_FFFF] * (size // 4 - len(words))]


async def read(context: Any, dut: DescriptorReader, beats: list[int], is_header: bool) -> None:
    assert dut.beats.payload.shape().width == 32
    context.set(dut.is_header, is_header)
    context.set(dut.reading, 1)
    await put(context, dut.beats, beats, pauses(1))
    while not context.get(dut.ended):
        await context.tick()
    context.set(dut.reading, 0)
    await context.tick()


def kept_in(view: Any, name: str) -> Any:
    for part in name.split("."):
        view = view[part]
    return view


@pytest.mark.parametrize("seed", range(3))
def test_every_word_of_a_descriptor_is_kept(seed: int) -> None:
    rng = random.Random(seed)
    dut = DescriptorReader(TINY)
    header, words = draw(header_words(TINY), rng), draw(descriptor_words(TINY), rng)

    async def check(context: Any) -> None:
        await read(context, dut, beats_of(header, HEADER_BYTES), True)
        await read(context, dut, beats_of(words, DESCRIPTOR_BYTES), False)
        assert not context.get(dut.bad)
        assert context.get(dut.header.tiles) == header["tiles"]
        assert context.get(dut.header.first) == header["first"]
        for name, value in words.items():
            assert context.get(kept_in(dut.tile, name)) == value, name

    simulate(dut, check)


@pytest.mark.parametrize("is_header", [True, False], ids=["header", "descriptor"])
@pytest.mark.parametrize("seed", range(3))
def test_the_first_word_outside_its_limits_is_named(is_header: bool, seed: int) -> None:
    rng = random.Random(seed)
    dut = DescriptorReader(TINY)
    table = header_words(TINY) if is_header else descriptor_words(TINY)
    size = HEADER_BYTES if is_header else DESCRIPTOR_BYTES
    bounded = [n for n, word in enumerate(table.values()) if word.high < (1 << 31) - 1]
    values = draw(table, rng)
    bad = sorted(rng.sample(bounded, 2))
    for number in bad:
        name, word = list(table.items())[number]
        values[name] = word.high + word.multiple

    async def check(context: Any) -> None:
        await read(context, dut, beats_of(values, size), is_header)
        assert context.get(dut.bad)
        assert context.get(dut.bad_word) == bad[0]

    simulate(dut, check)
