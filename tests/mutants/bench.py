"""cocotb bench of the core with defects built in: runs the scenarios with one defect after another.

Values: those of `tb.benches.core`, and `switch` (a file that the Verilog reads the number of the
defect from at every reset), `defects` (numbers), `found` (a file that gets a line for each
defect: its number, and the number of the first run that differs, with the aspect, or nothing), and
`until` (no defect begins when `time.time` is past it).

The runs are first done with no defect, and their outcomes are written into the folder.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge
from cocotb.triggers import ClockCycles, FallingEdge

from compiler.driver import Accelerator
from tb.benches.common import start, values
from tb.benches.core import SimulatedBus, run_one
from tb.exchange.core_files import Outcome, Run, read_runs, write_outcome
from tests.hw.core.scenarios import summary, tensors

_MARGIN = 1_000
"""Cycles by which a run may exceed the right one before it is given up; it differs by then."""
_SETTLED = 4
"""Cycles of reset, and until it has reached the core."""


@cocotb.test()
async def run_defects(dut: Any) -> None:
    """Run every run without a defect, then with each until one differs."""
    settings = values()
    folder, switch = Path(settings["runs"]), Path(settings["switch"])
    runs = read_runs(folder)
    files = Path(settings["memory_in"]), Path(settings["memory_out"])
    word = runs[0].program.config.bus_bytes

    async def restart(number: int) -> SimulatedBus:
        switch.write_text(str(number))
        bus = SimulatedBus(dut, folder, *files, word)
        dut.rst.value = 1
        await ClockCycles(dut.clk, _SETTLED, FallingEdge)
        dut.rst.value = 0
        await ClockCycles(dut.clk, _SETTLED, FallingEdge)
        return bus

    switch.write_text("0")
    await start(dut, clock=False)
    bus = await restart(0)
    right, longest = await bridge(_run_right)(bus, runs, folder)
    differs = await bridge(_differs)(await restart(0), runs, right, longest)
    assert not differs, f"without a defect, run {differs} differs from one time to the next"
    with Path(settings["found"]).open("a") as found:
        for number in settings["defects"]:
            if time.time() > settings["until"]:
                break
            print(number, "crashes", file=found, flush=True)  # unless another line follows
            bus = await restart(number)
            print(number, await bridge(_differs)(bus, runs, right, longest), file=found, flush=True)


def _run_right(
    bus: SimulatedBus, runs: list[Run], folder: Path
) -> tuple[list[dict[str, Any]], list[int]]:
    """Return what comes of each run without a defect, and the cycles after which to give it up.

    A run that ends well has its own number of cycles; others may take as many as the longest.
    """
    accelerator = Accelerator(bus)
    outcomes = [run_one(bus, accelerator, run) for run in runs]
    for number, outcome in enumerate(outcomes):
        write_outcome(folder, number, outcome)
    elapsed = [0 if outcome.fault else outcome.observed["elapsed"] for outcome in outcomes]
    longest = [(cycles or max(elapsed)) + _MARGIN for cycles in elapsed]
    return [_comparable(*pair) for pair in zip(runs, outcomes, strict=True)], longest


def _differs(
    bus: SimulatedBus, runs: list[Run], right: list[dict[str, Any]], longest: list[int]
) -> str:
    """The number of the first run that differs and in which aspect, or nothing."""
    number = 0
    try:
        accelerator = Accelerator(bus)
        for number, run in enumerate(runs):
            bus.longest = longest[number]
            outcome = run_one(bus, accelerator, run)
            if outcome.fault != right[number]["fault"]:
                return f"{number} {outcome.fault.split(' fault')[0] or 'no fault'}"
            wrong = _comparable(run, outcome)
            for aspect, expected in right[number].items():
                if not _equal(wrong[aspect], expected):
                    return f"{number} {aspect}"
    except Exception as error:  # whatever a defective core makes the driver do
        return f"{number} {type(error).__name__}"
    return ""


def _comparable(run: Run, outcome: Outcome) -> dict[str, Any]:
    """All that `tests.hw.core.scenarios.verify` looks at in an outcome."""
    return {
        "fault": outcome.fault,
        "violations": outcome.violations,
        "tensors": [] if outcome.fault else tensors(run, outcome),
        "counters": summary(outcome),
        "stored counters": [
            sum(layer[name] for layer in outcome.layers) for name in outcome.totals
        ],
        "beats on the bus": {
            name: count
            for name, count in outcome.observed.items()
            if name != "elapsed" and not outcome.fault
        },
    }


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list) and one and isinstance(one[0], np.ndarray):
        return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
