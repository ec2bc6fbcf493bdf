"""cocotb bench of several cores on one memory port: the host's driver runs images on all at once.

Values: those of `tb.benches.core`. Runs come in groups of as many as there are cores; those of a
group are images of one program, and run at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cocotb
import numpy as np
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, FallingEdge, First, Timer, ValueChange

from compiler.driver import Accelerators, Result
from compiler.program import Program
from hw.contract.bus import LITE_ADDRESS_BITS
from hw.contract.registers import REGISTERS
from tb.benches.common import PERIOD, start, values
from tb.benches.core import REPORT, RESET_LATENCY, UNWRITTEN, SimulatedBus, now
from tb.exchange.core_files import (
    Outcome,
    Run,
    read_runs,
    write_elapsed,
    write_outcome,
    write_progress,
)


class BusOfOne(SimulatedBus):
    """The transport of one of the cores, by its page of registers and its interrupt."""

    def __init__(self, number: int, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._number = number
        self._page = number << LITE_ADDRESS_BITS
        self.started = self.ended = 0

    @resume
    async def read_register(self, offset: int) -> int:
        return await self._read(self._page + offset)

    @resume
    async def write_register(self, offset: int, value: int) -> None:
        await self._write(self._page + offset, value)
        if offset == REGISTERS["control"].offset:
            self.started = now()

    @resume
    async def write_memory(self, offset: int, data: bytes) -> None:
        """Write bytes; the file has whole words of the port, so the rest of them is read first."""
        before, after = offset % self._word, -(offset + len(data)) % self._word
        if before or after:
            first = offset - before
            whole = bytearray(await self._dumped(first, before + len(data) + after))
            whole[before : before + len(data)] = data
            offset, data = first, bytes(whole)
        await self._loaded(offset, data)

    @resume
    async def wait(self) -> None:
        begun = now()
        irq = self._dut.irq
        while not int(irq.value) >> self._number & 1:
            await First(ValueChange(irq), Timer(REPORT * PERIOD, "ns"))
            await self.edge
            layer = await self._read(self._page + REGISTERS["layer"].offset)
            write_progress(self._folder, layer, now() - begun)
        self.ended = now()


class Together(Protocol):
    """A host's driver of several cores."""

    def run(self, program: Program, images: Sequence[np.ndarray], *, point: str) -> list[Result]:
        """Run images, one on each core."""


def run_groups(
    buses: list[BusOfOne],
    runs: list[Run],
    folder: Path,
    driver: Callable[[list[BusOfOne]], Together],
) -> None:
    """Run each group, and write its outcomes and the cycles that all of it took into the folder."""
    memory = buses[0]
    elapsed = []
    accelerators: Together | None = None
    for first in range(0, len(runs), len(buses)):
        group = runs[first : first + len(buses)]
        program = group[0].program
        begun, cpu_begun = time.monotonic(), time.process_time()
        for bus in buses:
            bus.prepare(group[0])
        if accelerators is None:
            accelerators = driver(buses)
        scratch = len(program.image)
        memory.write_memory(scratch, bytes([UNWRITTEN]) * (program.end - scratch))
        before = memory.violations()
        results = accelerators.run(program, [run.image for run in group], point=group[0].point)
        violations = memory.violations() - before
        elapsed.append(max(bus.ended for bus in buses) - min(bus.started for bus in buses))
        for number, result in enumerate(results):
            own = scratch + number * program.core_bytes
            outcome = Outcome(
                output=result.output,
                other_outputs=result.other_outputs,
                memory=np.frombuffer(memory.read_memory(own, program.core_bytes), np.uint8),
                totals=result.totals,
                layers=result.layers,
                seconds=time.monotonic() - begun,
                cpu_seconds=time.process_time() - cpu_begun,
                violations=violations,
                observed={},
            )
            write_outcome(folder, first + number, outcome)
    write_elapsed(folder, elapsed)


async def run_beside_memory(dut: Any, driver: Callable[[list[BusOfOne]], Together]) -> None:
    """Reset the cores beside their memory, and run every group by a host's driver."""
    settings = values()
    folder = Path(settings["runs"])
    runs = read_runs(folder)
    files = Path(settings["memory_in"]), Path(settings["memory_out"])
    word = settings["word"]
    buses = [BusOfOne(number, dut, folder, *files, word) for number in range(len(dut.irq))]
    await start(dut, clock=False)
    await ClockCycles(dut.clk, RESET_LATENCY, FallingEdge)
    await bridge(run_groups)(buses, runs, folder, driver)


@cocotb.test()
async def run_programs(dut: Any) -> None:
    """Run every group, one after another."""
    await run_beside_memory(dut, Accelerators)
