"""cocotb bench of the core alone between cocotbext-axi's models, which judge its ports.

Nobody here wrote these models, so they find what our own memory would tolerate.

Values: `runs` (a folder of `tb.exchange.core_files`). A run's `latency` is not used here; `stall`
is the share of cycles in which each channel of the models pauses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from tb.benches.common import PERIOD, start, values
from tb.benches.core import run_all
from tb.benches.streams import random_pause
from tb.exchange.core_files import Run, read_runs

_LONGEST = 10_000_000
"""Cycles after which a run is given up."""


class CocotbextBus:
    """The driver's transport: cocotbext-axi's register master and memory.

    The window is the upper half of the memory.
    """

    def __init__(self, dut: Any, size: int) -> None:
        self._dut = dut
        self._registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self._ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=2 * size)
        self.base, self.size = size, size

    @resume
    async def prepare(self, run: Run) -> None:
        """Make every channel pause from now on."""
        write, read = self._ram.write_if, self._ram.read_if
        channels = (
            *(write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel),
            *(self._registers.write_if.aw_channel, self._registers.write_if.w_channel),
            *(self._registers.read_if.ar_channel, self._registers.read_if.r_channel),
        )
        for seed, channel in enumerate(channels):
            channel.set_pause_generator(random_pause(run.stall, seed, longest=4))

    @resume
    async def violations(self) -> int:
        """Return 0: the models fail at once where they find a violation."""
        return 0

    @resume
    async def observed(self) -> dict[str, int]:
        """Return nothing: the models do not count."""
        return {}

    @resume
    async def read_register(self, offset: int) -> int:
        return await self._registers.read_dword(offset)

    @resume
    async def write_register(self, offset: int, value: int) -> None:
        await self._registers.write_dword(offset, value)

    def read_memory(self, offset: int, size: int) -> bytes:
        return bytes(self._ram.read(self.base + offset, size))

    def write_memory(self, offset: int, data: bytes) -> None:
        self._ram.write(self.base + offset, data)

    @resume
    async def wait(self) -> None:
        if self._dut.irq.value != 1:
            await with_timeout(RisingEdge(self._dut.irq), _LONGEST * PERIOD, "ns")


@cocotb.test()
async def run_programs(dut: Any) -> None:
    """Run every run, one after another."""
    settings = values()
    runs = read_runs(Path(settings["runs"]))
    bus = CocotbextBus(dut, max(run.size for run in runs))
    await start(dut)
    await bridge(run_all)(bus, runs, Path(settings["runs"]))
