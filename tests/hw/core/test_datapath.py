"""The datapath says at once when a tile asks for memory outside the window."""

from __future__ import annotations

from typing import Any

from hw.contract.bus import PAGE_BITS
from hw.core.datapath import Datapath
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

ASKS = 4
"""Cycles after which a tile has begun to ask for its records."""
SOON = 50
"""Cycles in which a tile asks for all of its weights."""


def test_a_tile_is_at_fault_where_the_end_of_its_weights_lies_outside_the_window() -> None:
    """Its last request is under way then, and records of the next tile are waited for."""
    dut = Datapath(TINY)
    words = 4

    async def check(context: Any) -> None:
        context.set(dut.window.pages, 1)
        tile = {
            "channels": 1,
            "kernel_words": words,
            "weights": (1 << PAGE_BITS) - words * TINY.lanes // 2,
        }
        for name, value in tile.items():
            context.set(dut.tile[name], value)
        context.set(dut.next, {"early": 1, "channels": 1})
        context.set(dut.m_axi.read.arready, 1)
        context.set(dut.start, 1)
        await context.tick()
        context.set(dut.start, 0)
        await context.tick().repeat(ASKS)
        context.set(dut.fetched, 1)
        assert not context.get(dut.outside)
        await context.tick().until(dut.outside)
        await context.tick().repeat(SOON)
        assert context.get(dut.outside)

    simulate(dut, check, deadline=4 * SOON)
