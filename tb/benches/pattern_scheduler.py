"""Block bench of the pattern scheduler: checks items and rate against `golden.pattern`."""

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from hw.contract.timing import SCHEDULER_LATENCY
from tb.benches.block_common import (
    END,
    BlockSettings,
    Map,
    collect,
    now,
    require_equal,
    uneven_pauses,
    work_items,
)
from tb.benches.common import start
from tb.benches.streams import StreamSink


def scheduled(layer: Map) -> np.ndarray:
    """Return the positions that the scheduler emits: `I_s` without the restored rows."""
    restored = np.arange(layer.height) < layer.first_row
    return layer.computed & ~restored[:, None]


def expected_items(layer: Map, channels: int) -> list[Any]:
    return [*layer.pixels(scheduled(layer)), END] * channels


def expected_cycles(layer: Map, channels: int) -> int:
    """Return one cycle for each pixel, each row that begins with `I_t` and each channel's end."""
    computed = layer.computed[layer.first_row :]
    return channels * (int(computed.sum()) + int((~computed[:, 0]).sum()) + 1)


async def begin(dut: Any, layer: Map, channels: int) -> None:
    """Start a layer; return at the clock edge that takes the start."""
    dut.layer.value = layer.descriptor(channels=channels)
    dut.start.value = 1
    await RisingEdge(dut.clk)
    dut.start.value = 0


async def start_again(dut: Any, cycles: int) -> None:
    """Raise `start` for a cycle while the scheduler is busy."""
    await ClockCycles(dut.clk, cycles)
    dut.start.value = 1
    await RisingEdge(dut.clk)
    dut.start.value = 0


async def prepare(dut: Any) -> None:
    dut.layer.value = 0
    dut.start.value = 0
    await start(dut)


@cocotb.test()
async def emits_what_the_pattern_computes(dut: Any) -> None:
    """It emits `I_s` in raster order with addresses, and an end after each channel.

    The sink's pauses do not matter, and a start while it is busy changes nothing.
    """
    settings = BlockSettings.read()
    rng = random.Random(settings.seed)
    sink = StreamSink(dut, "items", pause=uneven_pauses(settings.seed))
    await prepare(dut)
    for layer in Map.several(settings.config, rng, settings.count):
        channels = rng.randint(1, 4)
        expected = expected_items(layer, channels)
        await begin(dut, layer, channels)
        again = cocotb.start_soon(start_again(dut, rng.randint(0, len(expected) - 1)))
        received = await collect(sink, len(expected))
        require_equal(f"{layer}", work_items(settings.config, received), expected)
        await again
        await ClockCycles(dut.clk, 3)
        assert dut.items__valid.value == 0, f"{layer}: more items than {len(expected)}"


@cocotb.test()
async def keeps_its_rate(dut: Any) -> None:
    """It takes exactly the cycles of the module's docstring if the sink never pauses."""
    settings = BlockSettings.read()
    rng = random.Random(settings.seed + 1)
    sink = StreamSink(dut, "items")
    await prepare(dut)
    for layer in Map.several(settings.config, rng, settings.count):
        channels = rng.randint(1, 4)
        await begin(dut, layer, channels)
        begun = now()
        await collect(sink, len(expected_items(layer, channels)))
        cycles, expected = now() - begun, expected_cycles(layer, channels) + SCHEDULER_LATENCY
        assert cycles == expected, (
            f"{layer}, {channels} channels: {cycles} cycles, expected {expected}"
        )
