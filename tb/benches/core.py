"""cocotb bench of the core beside its memory: the host's driver runs programs on it.

Values: `runs` (a folder of `tb.exchange.core_files`), `memory_in` and `memory_out` (the files that
the memory is loaded from and dumped to).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cocotb
import numpy as np
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, FallingEdge, First, ReadOnly, Timer, ValueChange
from cocotb.utils import get_sim_time

from compiler.driver import Accelerator, CoreFault, Transport
from hw.contract.registers import REGISTERS
from tb.benches.common import PERIOD, start, values
from tb.exchange.core_files import Outcome, Run, read_runs, write_outcome, write_progress

_LONGEST = 2_000_000_000
"""Cycles after which a run is given up."""
_SLOWEST_REGISTER = 16
"""Cycles that a transfer at the registers may take; the core needs one or two."""
_MOST_VAIN = 2
"""Times that the host may find the interrupt high just after it read its status as zero."""
REPORT = 250_000
"""Cycles between two reports of how far a run is."""

_BEATS = ("beats_read", "beats_written")
"""Counters that the core has and the memory too."""

UNWRITTEN = 0xA5
"""Value of every byte of scratch memory before a run."""

RESET_LATENCY = 2
"""Cycles from a change of the reset until the core and its memory have seen it."""

_INPUTS = (
    *(f"s_axil_{name}" for name in ("awaddr", "awvalid", "wdata", "wvalid", "bready")),
    *(f"s_axil_{name}" for name in ("araddr", "arvalid", "rready")),
    *("latency", "stall", "origin", "access_last"),
    *("fault_first", "fault_last", "write_first", "write_last"),
    *("load", "dump", "file_first", "file_last"),
)


class SimulatedBus:
    """The driver's transport: registers by AXI4-Lite, memory through the simulator's files.

    A run that takes more cycles than `longest` is given up.

    Its methods block, as a host's do; they are called from a thread of `bridge`. Each begins and
    ends at a falling edge of the clock. The design makes its own clock, and simulators disagree on
    whether a bench that wakes at a rising edge sees registers before or after that edge.
    """

    def __init__(
        self,
        dut: Any,
        folder: Path,
        memory_in: Path,
        memory_out: Path,
        word: int,
    ) -> None:
        self.longest = _LONGEST
        self._dut = dut
        self._folder = folder
        self._in, self._out = memory_in, memory_out
        self._word = word
        self.edge = FallingEdge(dut.clk)
        self._run: Run | None = None
        self.base, self.size = 0, 0
        self._started = self._ended = 0
        self._vain = 0
        for name in _INPUTS:
            getattr(dut, name).value = 0

    @resume
    async def prepare(self, run: Run) -> None:
        """Set how the memory behaves, and remember what is going to happen to the core.

        Waits until the ofm banks are cleared, so that each run takes as long as it would alone.
        """
        self._run = run
        self._vain = 0
        dut = self._dut
        dut.latency.value = run.latency
        dut.stall.value = round(256 * run.stall)
        self.base, self.size = run.base, run.size
        dut.origin.value = run.base
        dut.access_last.value = run.size - 1
        dut.fault_first.value, dut.fault_last.value = run.faulty
        if run.writes_anywhere:
            dut.write_first.value, dut.write_last.value = 0, run.size - 1
        else:
            dut.write_first.value = len(run.program.image)
            dut.write_last.value = run.program.end - 1
        await ClockCycles(dut.clk, run.program.config.ofm_words, FallingEdge)

    @resume
    async def violations(self) -> int:
        """Return how often the memory saw the protocol violated since its reset."""
        return int(self._dut.violations.value)

    @resume
    async def observed(self) -> dict[str, int]:
        """Return the cycles from the start of the run to its interrupt, and all beats so far."""
        beats = {name: int(getattr(self._dut, name).value) for name in _BEATS}
        return {"elapsed": self._ended - self._started, **beats}

    @resume
    async def read_register(self, offset: int) -> int:
        return await self._read(offset)

    async def _read(self, offset: int) -> int:
        dut = self._dut
        dut.s_axil_araddr.value = offset
        dut.s_axil_rready.value = 1
        await self._hand_over("ar")
        await self._until("rvalid")
        assert dut.s_axil_rresp.value == 0
        value = int(dut.s_axil_rdata.value)
        await self.edge
        dut.s_axil_rready.value = 0
        return value

    @resume
    async def write_register(self, offset: int, value: int) -> None:
        await self._write(offset, value)
        if offset == REGISTERS["control"].offset:
            self._started = now()

    async def _write(self, offset: int, value: int) -> None:
        dut = self._dut
        dut.s_axil_awaddr.value = offset
        dut.s_axil_wdata.value = value
        dut.s_axil_bready.value = 1
        await self._hand_over("aw", "w")
        await self._until("bvalid")
        assert dut.s_axil_bresp.value == 0
        await self.edge
        dut.s_axil_bready.value = 0

    @resume
    async def read_memory(self, offset: int, size: int) -> bytes:
        return await self._dumped(offset, size)

    async def _dumped(self, offset: int, size: int) -> bytes:
        await self._strobe("dump", offset, size)
        data = self._out.read_bytes()
        skipped = offset % self._word
        return data[skipped : skipped + size]

    @resume
    async def write_memory(self, offset: int, data: bytes) -> None:
        await self._loaded(offset, data)

    async def _loaded(self, offset: int, data: bytes) -> None:
        words = np.frombuffer(data, np.uint8).reshape(-1, self._word)
        self._in.write_bytes(words[:, ::-1].tobytes())
        await self._strobe("load", offset, len(data))

    @resume
    async def wait(self) -> None:
        self._vain += self._dut.irq.value == 1
        assert self._vain <= _MOST_VAIN, "the interrupt is high, and its status reads zero"
        run, self._run = self._run, None  # the event happens once
        if run is not None and run.event:
            await First(Timer((run.after + 1) * PERIOD, "ns"), ValueChange(self._dut.irq))
            await self.edge
            if self._dut.irq.value != 1:
                await self._disturb(run.event)
        begun = now()
        while self._dut.irq.value != 1:
            interval = min(REPORT, self.longest)
            await First(ValueChange(self._dut.irq), Timer(interval * PERIOD, "ns"))
            await self.edge
            cycles = now() - begun
            assert cycles <= self.longest, f"not done after {cycles} cycles"
            write_progress(self._folder, await self._read(REGISTERS["layer"].offset), cycles)
        self._ended = now()

    async def _disturb(self, event: str) -> None:
        """Abort the program, start it again while it runs, or reset core and bus."""
        if event == "reset":
            self._dut.rst.value = 1
            await self.edge
            self._dut.rst.value = 0
            await ClockCycles(self._dut.clk, RESET_LATENCY, FallingEdge)
            raise CoreFault("reset")
        control = REGISTERS["control"]
        await self._write(control.offset, control.fields[event].mask)

    async def _hand_over(self, *channels: str) -> None:
        """Make one transfer on each channel; all are taken in the same cycle."""
        valids = [getattr(self._dut, f"s_axil_{channel}valid") for channel in channels]
        for valid in valids:
            valid.value = 1
        for _ in range(_SLOWEST_REGISTER):
            await ReadOnly()
            ready = getattr(self._dut, f"s_axil_{channels[0]}ready").value == 1
            await self.edge
            if ready:
                break
        else:
            raise AssertionError(f"s_axil_{channels[0]}ready stays low")
        for valid in valids:
            valid.value = 0

    async def _until(self, valid: str) -> None:
        """Wait for an answer of the registers."""
        for _ in range(_SLOWEST_REGISTER):
            if getattr(self._dut, f"s_axil_{valid}").value == 1:
                return
            await self.edge
        raise AssertionError(f"s_axil_{valid} stays low")

    async def _strobe(self, name: str, offset: int, size: int) -> None:
        """Move a range of memory from or to its file; `name` is `load` or `dump`."""
        self._dut.file_first.value = offset // self._word
        self._dut.file_last.value = (offset + size - 1) // self._word
        getattr(self._dut, name).value = 1
        await self.edge
        getattr(self._dut, name).value = 0
        await self.edge


class Bus(Transport, Protocol):
    """A transport to a simulated core."""

    def prepare(self, run: Run) -> None:
        """Prepare the memory for a run."""

    def violations(self) -> int:
        """Return how often the bus's protocol was violated so far."""

    def observed(self) -> dict[str, int]:
        """Return what the bus has counted of `CORE_COUNTERS`: cycles of the run, beats so far."""


def run_all(bus: Bus, runs: list[Run], folder: Path) -> None:
    """Run every run as a host would, and write its outcome into the folder.

    At last the registers must still hold what the driver wrote, unless a reset has cleared them.
    """
    accelerator = Accelerator(bus)
    fault = ""
    for number, run in enumerate(runs):
        outcome = run_one(bus, accelerator, run)
        write_outcome(folder, number, outcome)
        fault = outcome.fault
    if runs and fault != "reset":
        _check_registers(bus, runs[-1])


def _check_registers(bus: Bus, run: Run) -> None:
    every = REGISTERS["interrupt_status"].fields.values()
    expected = {
        "interrupt_enable": sum(event.mask for event in every),
        "program": 0,
        "point": run.program.points.index(run.point),
        "base_low": bus.base & 0xFFFF_FFFF,
        "base_high": bus.base >> 32,
        "size": bus.size,
        "status": 0,
    }
    found = {name: bus.read_register(REGISTERS[name].offset) for name in expected}
    assert found == expected


def run_one(bus: Bus, accelerator: Accelerator, run: Run) -> Outcome:
    """Run one run as a host would; what was in its scratch memory before is overwritten."""
    begun, cpu_begun = time.monotonic(), time.process_time()
    program = run.program
    scratch = len(program.image)
    bus.prepare(run)
    bus.write_memory(scratch, bytes([UNWRITTEN]) * (program.end - scratch))
    before, violations = bus.observed(), bus.violations()
    fault = ""
    output = np.empty(0, np.int32)
    other_outputs: dict[str, np.ndarray] = {}
    totals: dict[str, int] = {}
    layers: list[dict[str, int]] = []
    try:
        result = accelerator.run(program, run.image, point=run.point)
        output, other_outputs = result.output, result.other_outputs
        totals, layers = result.totals, result.layers
    except CoreFault as error:
        fault = str(error)
    seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - cpu_begun
    memory = bus.read_memory(scratch, program.end - scratch)
    return Outcome(
        output=output,
        other_outputs=other_outputs,
        memory=np.frombuffer(memory, np.uint8),
        totals=totals,
        layers=layers,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        violations=_since(violations, bus.violations()),
        observed={
            name: count if name == "elapsed" else _since(before[name], count)
            for name, count in bus.observed().items()
        },
        fault=fault,
    )


def _since(before: int, now: int) -> int:
    """Return how far a counter of the memory has advanced, or its value if it was reset."""
    return now - before if now >= before else now


def now() -> int:
    """Return the cycles since the simulation began."""
    return round(get_sim_time("ns") / PERIOD)


async def run_beside_memory(
    dut: Any, run_runs: Callable[[SimulatedBus, list[Run], Path], None]
) -> None:
    """Reset the core beside its memory, and hand its bus and the runs to a host's function."""
    settings = values()
    folder = Path(settings["runs"])
    runs = read_runs(folder)
    word = runs[0].program.config.bus_bytes
    bus = SimulatedBus(dut, folder, Path(settings["memory_in"]), Path(settings["memory_out"]), word)
    await start(dut, clock=False)
    await ClockCycles(dut.clk, RESET_LATENCY, FallingEdge)
    await bridge(run_runs)(bus, runs, folder)


@cocotb.test()
async def run_programs(dut: Any) -> None:
    """Run every run, one after another."""
    await run_beside_memory(dut, run_all)
