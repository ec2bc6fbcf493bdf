"""cocotb bench of the core in its memory: the host's driver, on a simulated bus.

Values: `runs` (a folder of `tb.core_runs`), `memory_in` and `memory_out` (the memory's files).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import cocotb
import numpy as np
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout

from compiler.driver import Accelerator, CoreFault, Transport
from hw.registers import REGISTERS
from tb.bench import PERIOD, start, values
from tb.core_runs import Outcome, Run, from_text, read_runs, to_text, write_outcome

_LONGEST = 100_000_000
"""Cycles after which a run is given up."""

_INPUTS = (
    *(f"s_axil_{name}" for name in ("awaddr", "awvalid", "wdata", "wvalid", "bready")),
    *(f"s_axil_{name}" for name in ("araddr", "arvalid", "rready")),
    *("latency", "stall", "fault_first", "fault_last", "write_first", "write_last"),
    *("load", "dump", "dump_first", "dump_last"),
)


class SimulatedBus:
    """The driver's transport: registers by AXI4-Lite, memory through the simulator's files.

    Its methods block, as a host's do; they are called from a thread of `bridge`.
    """

    def __init__(self, dut: Any, memory_in: Path, memory_out: Path, word: int) -> None:
        self._dut = dut
        self._in, self._out = memory_in, memory_out
        self._word = word
        self._edge = RisingEdge(dut.clk)
        self._run: Run | None = None
        for name in _INPUTS:
            getattr(dut, name).value = 0

    @resume
    async def prepare(self, run: Run) -> None:
        """How the memory behaves from now on, and what is going to happen to the core."""
        self._run = run
        dut = self._dut
        dut.latency.value = run.latency
        dut.stall.value = round(256 * run.stall)
        dut.fault_first.value, dut.fault_last.value = run.faulty
        dut.write_first.value = run.program.base + len(run.program.image)
        dut.write_last.value = run.program.end - 1

    @resume
    async def violations(self) -> int:
        """Breaches of the protocol that the memory has seen."""
        return int(self._dut.violations.value)

    @resume
    async def read_register(self, offset: int) -> int:
        dut = self._dut
        dut.s_axil_araddr.value = offset
        dut.s_axil_rready.value = 1
        await self._hand_over("ar")
        while dut.s_axil_rvalid.value != 1:
            await self._edge
        assert dut.s_axil_rresp.value == 0
        value = int(dut.s_axil_rdata.value)
        await self._edge
        dut.s_axil_rready.value = 0
        return value

    @resume
    async def write_register(self, offset: int, value: int) -> None:
        await self._write(offset, value)

    async def _write(self, offset: int, value: int) -> None:
        dut = self._dut
        dut.s_axil_awaddr.value = offset
        dut.s_axil_wdata.value = value
        dut.s_axil_bready.value = 1
        await self._hand_over("aw", "w")
        while dut.s_axil_bvalid.value != 1:
            await self._edge
        assert dut.s_axil_bresp.value == 0
        await self._edge
        dut.s_axil_bready.value = 0

    @resume
    async def read_memory(self, address: int, size: int) -> bytes:
        word = self._word
        first, end = address // word, -(-(address + size) // word)
        self._dut.dump_first.value = first
        self._dut.dump_last.value = end - 1
        await self._strobe("dump")
        data = from_text(self._out.read_text(), word).tobytes()
        skipped = address - first * word
        return data[skipped : skipped + size]

    @resume
    async def write_memory(self, address: int, data: bytes) -> None:
        self._in.write_text(to_text(address, data, self._word))
        await self._strobe("load")

    @resume
    async def wait(self) -> None:
        run, self._run = self._run, None  # what happens to the core happens once
        if run is not None and run.event:
            await ClockCycles(self._dut.clk, run.after + 1)
            await self._disturb(run.event)
        if self._dut.irq.value != 1:
            await with_timeout(RisingEdge(self._dut.irq), _LONGEST * PERIOD, "ns")

    async def _disturb(self, event: str) -> None:
        """Abort the program, start it once more, or reset core and bus."""
        if event == "reset":
            self._dut.rst.value = 1
            await self._edge
            self._dut.rst.value = 0
            await self._edge
            raise CoreFault("reset")
        control = REGISTERS["control"]
        await self._write(control.offset, 1 << control.fields[event][0])

    async def _hand_over(self, *channels: str) -> None:
        """Transfer on channels that are taken in the same cycle."""
        valids = [getattr(self._dut, f"s_axil_{channel}valid") for channel in channels]
        for valid in valids:
            valid.value = 1
        await self._edge
        while getattr(self._dut, f"s_axil_{channels[0]}ready").value != 1:
            await self._edge
        for valid in valids:
            valid.value = 0

    async def _strobe(self, name: str) -> None:
        getattr(self._dut, name).value = 1
        await self._edge
        await self._edge
        getattr(self._dut, name).value = 0
        await self._edge


class Bus(Transport, Protocol):
    """A transport whose other end is simulated."""

    def prepare(self, run: Run) -> None:
        """Make the memory what a run wants."""

    def violations(self) -> int:
        """Breaches of the bus's protocol so far."""


def run_all(bus: Bus, runs: list[Run], folder: Path) -> None:
    """Run after run, as a host would."""
    accelerator = Accelerator(bus)
    for number, run in enumerate(runs):
        bus.prepare(run)
        fault = ""
        output = np.empty(0, np.int32)
        totals: dict[str, int] = {}
        layers: list[dict[str, int]] = []
        try:
            result = accelerator.run(run.program, run.image, point=run.point)
            output, totals, layers = result.output, result.totals, result.layers
        except CoreFault as error:
            fault = str(error)
        program = run.program
        memory = bus.read_memory(program.base, program.end - program.base)
        outcome = Outcome(
            output=output,
            memory=np.frombuffer(memory, np.uint8),
            totals=totals,
            layers=layers,
            violations=bus.violations(),
            fault=fault,
        )
        write_outcome(folder, number, outcome)


@cocotb.test()
async def run_programs(dut: Any) -> None:
    """Every run, one after another."""
    orders = values()
    runs = read_runs(Path(orders["runs"]))
    word = runs[0].program.config.bus_bytes
    bus = SimulatedBus(dut, Path(orders["memory_in"]), Path(orders["memory_out"]), word)
    await start(dut)
    await bridge(run_all)(bus, runs, Path(orders["runs"]))
