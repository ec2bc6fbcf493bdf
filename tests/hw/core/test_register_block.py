"""The register block answers as `hw.contract.registers` describes."""

from __future__ import annotations

import random
from typing import Any

from hw.contract.counters import CORE_COUNTERS
from hw.contract.program import VERSION
from hw.contract.registers import ID, REGISTERS, Fault
from hw.core.register_block import RegisterBlock
from tests.hw.amaranth_testbench import Testbench, simulate


class Host:
    """The host at the register port; address or data of a write may come late."""

    def __init__(self, seed: int = 1) -> None:
        self.dut = RegisterBlock()
        self._rng = random.Random(seed)

    async def write(self, context: Any, name: str, value: int, strobes: int = 0b1111) -> list[str]:
        """Write a register; returns the pulses that the write causes."""
        dut = self.dut
        context.set(dut.s_axil.awaddr, REGISTERS[name].offset)
        context.set(dut.s_axil.wdata, value)
        context.set(dut.s_axil.wstrb, strobes)
        first = self._rng.choice([dut.s_axil.awvalid, dut.s_axil.wvalid])
        context.set(first, 1)
        await context.tick().repeat(self._rng.randint(1, 3))
        context.set(dut.s_axil.awvalid, 1)
        context.set(dut.s_axil.wvalid, 1)
        start, abort = (
            await context.tick()
            .sample(dut.start, dut.abort)
            .until(dut.s_axil.awready & dut.s_axil.wready)
        )
        context.set(dut.s_axil.awvalid, 0)
        context.set(dut.s_axil.wvalid, 0)
        await context.tick().repeat(self._rng.randint(1, 3))
        context.set(dut.s_axil.bready, 1)
        await context.tick().until(dut.s_axil.bvalid)
        context.set(dut.s_axil.bready, 0)
        return [name for name, pulse in (("start", start), ("abort", abort)) if pulse]

    async def read(self, context: Any, name: str) -> int:
        dut = self.dut
        context.set(dut.s_axil.araddr, REGISTERS[name].offset)
        context.set(dut.s_axil.arvalid, 1)
        await context.tick().until(dut.s_axil.arready)
        context.set(dut.s_axil.arvalid, 0)
        await context.tick().repeat(self._rng.randint(1, 3))
        context.set(dut.s_axil.rready, 1)
        (value,) = await context.tick().sample(dut.s_axil.rdata).until(dut.s_axil.rvalid)
        context.set(dut.s_axil.rready, 0)
        return value


def check(host: Host, testbench: Testbench) -> None:
    simulate(host.dut, testbench)


def test_what_is_written_is_read_and_what_is_fixed_stays() -> None:
    host = Host()

    async def testbench(context: Any) -> None:
        values = {
            "program": 0x1234_5678,
            "base_low": 1 << 31,
            "base_high": 3,
            "size": 0xFFFF_F001,
            "point": 3,
            "interrupt_enable": 0b101,
        }
        for name, value in values.items():
            assert await host.write(context, name, value) == []
        for name in ("id", "version", "status"):
            await host.write(context, name, 0xFFFF_FFFF)
        for name, value in {**values, "id": ID, "version": VERSION, "status": 0}.items():
            assert await host.read(context, name) == value, name

    check(host, testbench)


def test_only_the_bytes_whose_strobe_is_high_are_written() -> None:
    host = Host()

    async def testbench(context: Any) -> None:
        for name in ("program", "base_low", "base_high", "size"):
            await host.write(context, name, 0xAAAA_AAAA, strobes=0b0111)
            assert await host.read(context, name) == 0x00AA_AAAA
            await host.write(context, name, 0x5555_5555, strobes=0b1010)
            assert await host.read(context, name) == 0x55AA_55AA
            await host.write(context, name, 0x1234_5678, strobes=0)
            assert await host.read(context, name) == 0x55AA_55AA
        assert await host.write(context, "control", 0b11, strobes=0b1110) == []
        assert await host.write(context, "control", 0b01, strobes=0b0001) == ["start"]
        context.set(host.dut.done, 1)
        await context.tick()
        context.set(host.dut.done, 0)
        await host.write(context, "interrupt_status", 0b111, strobes=0b1110)
        assert await host.read(context, "interrupt_status") == 0b001
        await host.write(context, "interrupt_status", 0b111, strobes=0b0001)
        assert await host.read(context, "interrupt_status") == 0

    check(host, testbench)


def test_control_starts_and_aborts() -> None:
    host = Host()

    async def testbench(context: Any) -> None:
        assert await host.write(context, "control", 0b01) == ["start"]
        assert await host.write(context, "control", 0b10) == ["abort"]
        assert await host.write(context, "control", 0) == []
        assert await host.read(context, "control") == 0

    check(host, testbench)


def test_events_stay_until_they_are_cleared_and_interrupt_where_enabled() -> None:
    host = Host()
    dut = host.dut

    async def testbench(context: Any) -> None:
        await host.write(context, "interrupt_enable", 0b010)
        for event, bit in (("done", 0b001), ("error", 0b010), ("aborted", 0b100)):
            context.set(getattr(dut, event), 1)
            await context.tick()
            context.set(getattr(dut, event), 0)
            await context.tick()
            assert await host.read(context, "interrupt_status") == bit
            assert context.get(dut.irq) == (event == "error")
            await host.write(context, "interrupt_status", 0b111 ^ bit)
            assert await host.read(context, "interrupt_status") == bit
            await host.write(context, "interrupt_status", bit)
            assert await host.read(context, "interrupt_status") == 0
            assert not context.get(dut.irq)

    check(host, testbench)


def test_counters_and_faults_are_read_where_they_are_described() -> None:
    host = Host()
    dut = host.dut

    async def testbench(context: Any) -> None:
        context.set(dut.total, 0x1_0000_0002)
        context.set(dut.error_code, Fault.WRITE)
        context.set(dut.error_word, 7)
        context.set(dut.layer, 0x1234)
        assert await host.read(context, "error") == 0x1234_0000 | 7 << 8 | Fault.WRITE
        context.set(dut.error_code, Fault.NONE)
        assert await host.read(context, "error") == 0
        assert await host.read(context, "layer") == 0x1234
        for number, name in enumerate(CORE_COUNTERS):
            assert await host.read(context, f"{name}_low") == 2
            assert context.get(dut.counter) == number
            assert await host.read(context, f"{name}_high") == 1

    check(host, testbench)
