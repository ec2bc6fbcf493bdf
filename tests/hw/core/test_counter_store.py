"""The counter store adds counters to their totals, and sends them to memory as it is told."""

import random
from dataclasses import replace
from typing import Any

import pytest

from hw.contract.config import Config
from hw.contract.counters import CORE_COUNTERS, COUNTER_BITS, STORED_BYTES, TOTAL_BITS
from hw.core.counter_store import CounterStore
from tests.hw.amaranth_testbench import get, pauses, simulate
from tests.hw.small_configs import TINY

WIDE = replace(TINY, lanes=16, group=16, bus_bits=128)


def draw(rng: random.Random) -> dict[str, int]:
    return {name: rng.getrandbits(COUNTER_BITS) for name in CORE_COUNTERS}


def in_memory(counters: dict[str, int], config: Config) -> list[int]:
    """The beats that a tile's counters fill; what follows the last counter has no meaning."""
    text = b"".join(count.to_bytes(TOTAL_BITS // 8, "little") for count in counters.values())
    beats = [text[at : at + config.bus_bytes] for at in range(0, len(text), config.bus_bytes)]
    return [int.from_bytes(beat, "little") for beat in beats if len(beat) == config.bus_bytes]


async def until_ended(context: Any, dut: CounterStore, command: Any) -> None:
    context.set(command, 1)
    await context.tick().until(dut.ended)
    context.set(command, 0)


@pytest.mark.parametrize("config", [TINY, WIDE], ids=["32 bits", "128 bits"])
def test_counters_add_up_and_are_stored_where_that_is_asked_for(config: Config) -> None:
    rng = random.Random(1)
    dut = CounterStore(config)
    tiles = [(draw(rng), stores) for stores in (True, False, True)]

    async def count(context: Any) -> None:
        await until_ended(context, dut, dut.clear)
        totals = dict.fromkeys(CORE_COUNTERS, 0)
        for counters, stores in tiles:
            context.set(dut.counters, counters)
            context.set(dut.stores, stores)
            await context.tick()
            await until_ended(context, dut, dut.count)
            totals = {name: totals[name] + count for name, count in counters.items()}
            await context.tick().repeat(2)
            for number, name in enumerate(CORE_COUNTERS):
                context.set(dut.counter, number)
                assert context.get(dut.total) == totals[name], name
        await until_ended(context, dut, dut.clear)
        await context.tick()
        for number in range(len(CORE_COUNTERS)):
            context.set(dut.counter, number)
            assert context.get(dut.total) == 0

    async def store(context: Any) -> None:
        for counters, stores in tiles:
            if stores:
                expected = in_memory(counters, config)
                beats = await get(context, dut.beats, STORED_BYTES // config.bus_bytes, pauses(2))
                assert beats[: len(expected)] == expected

    simulate(dut, count, store)
