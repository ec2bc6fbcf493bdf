"""The engine says that it is busy until another layer may start."""

from __future__ import annotations

from typing import Any

from hw.engine.engine import LayerEngine
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

STRAY = 60
"""Cycles in which a layer that gets neither records nor an ifm would have ended, if it could."""


def test_no_layer_starts_while_the_banks_are_cleared_or_another_one_runs() -> None:
    dut = LayerEngine(TINY)

    async def check(context: Any) -> None:
        context.set(dut.descriptor.channels, 1)
        context.set(dut.start, 1)
        await context.tick()
        for _ in range(TINY.ofm_words):
            assert context.get(dut.busy)
            assert not context.get(dut.working)
            await context.tick()
        await context.tick().until(dut.working)
        context.set(dut.start, 0)
        for _ in range(STRAY):
            await context.tick()
            assert context.get(dut.working)
            assert context.get(dut.busy)

    simulate(dut, check)
