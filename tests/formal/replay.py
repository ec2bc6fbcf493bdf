"""Replay: a solver's history, run in Amaranth's simulator."""

from __future__ import annotations

import re
from typing import Any

from amaranth.sim import Simulator

from tests.formal.harness import Harness

__all__ = ["violates"]


def violates(
    harness: Harness, name: str, history: list[dict[str, int]], *, waves: str | None = None
) -> bool:
    """Say whether a property is violated in a history's last cycle; `waves` names a VCD file."""
    seen = False

    async def testbench(context: Any) -> None:
        nonlocal seen
        for cycle, bits in enumerate(history):
            if cycle:
                await context.tick()
            for port, value in _values(bits).items():
                if port in harness.inputs:
                    context.set(harness.inputs[port], value)
        await context.delay(1e-7)
        seen = bool(context.get(harness.properties[name]))

    simulator = Simulator(harness)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    if waves is None:
        simulator.run()
    else:
        with simulator.write_vcd(waves):
            simulator.run()
    return seen


def _values(bits: dict[str, int]) -> dict[str, int]:
    """The numbers whose bits are named NAME or NAME[BIT]."""
    values: dict[str, int] = {}
    for name, bit in bits.items():
        parts = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", name)
        assert parts is not None
        place = int(parts[2] or 0)
        values[parts[1]] = values.get(parts[1], 0) | bit << place
    return values
