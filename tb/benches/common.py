"""Shared by every cocotb bench: its values, a clock, a reset.

Amaranth's emitted Verilog calls the two signals of its ``sync`` domain ``clk`` and ``rst``.
"""

import json
import os
from pathlib import Path
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

__all__ = ["PERIOD", "start", "values"]

PERIOD = 10
"""Clock period in ns; a round number makes waveforms readable."""


def values() -> dict[str, Any]:
    """Return the ``values`` that `tb.simulators.run.run_bench` was given."""
    return json.loads(Path(os.environ["ZAP_VALUES"]).read_text())


async def start(dut: Any, *, cycles: int = 2, clock: bool = True) -> None:
    """Start ``dut.clk`` and hold ``dut.rst`` for some cycles; return just after it is released.

    Drive every input before the call: an undriven one is X on Icarus. `clock` is False where the
    design makes its own clock.
    """
    dut.rst.value = 1
    if clock:
        dut.clk.value = 0
        await Timer(PERIOD, "ns")  # else the first edge would meet a reset that is not driven yet
        Clock(dut.clk, PERIOD, unit="ns", impl="gpi").start()
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
