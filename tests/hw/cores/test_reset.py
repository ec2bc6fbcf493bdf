"""The logic that joins the cores, in and after a reset; stand-ins take the cores' place."""

from __future__ import annotations

from typing import Any

import pytest
from amaranth.hdl import Elaboratable, Module, Signal

from hw.contract.bus import ID_BITS, LITE_ADDRESS_BITS
from hw.contract.system import System
from hw.core.ports import named_ports
from hw.cores.cores import Cores
from tests.hw.amaranth_testbench import Resettable, simulate
from tests.hw.small_configs import TINY

CORES = 3
DECERR = 3


class StandIn(Elaboratable):
    """Takes the place of a core's instance; a testbench drives what would be its outputs."""

    def __init__(self, _: str, **ports: Any) -> None:
        self._outputs = {name[2:]: port for name, port in ports.items() if name.startswith("o_")}
        self.driven = {name: Signal.like(port) for name, port in self._outputs.items()}
        self.seen = {name[2:]: port for name, port in ports.items() if name.startswith("i_")}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [port.eq(self.driven[name]) for name, port in self._outputs.items()]
        return m


class Joined(Resettable):
    """`Cores` around stand-ins, and the signals of its ports by their names in Verilog."""

    def __init__(self, bits: int) -> None:
        self.cores = Cores(System(config=TINY, cores=CORES, memory_bits=bits), "core")
        super().__init__(self.cores)
        self.ports = {name: port for name, _, port in named_ports(self.cores)}
        self.handshakes = [
            port
            for name, flow, port in named_ports(self.cores)
            if flow.name == "Out" and name.endswith(("valid", "ready"))
        ]
        self.stand_ins: list[StandIn] = []

    def add(self, module: str, **ports: Any) -> StandIn:
        """Make a stand-in; `Cores` calls this in place of `Instance`."""
        self.stand_ins.append(StandIn(module, **ports))
        return self.stand_ins[-1]


@pytest.fixture(params=[32, 64], ids=["no upsizers", "upsizers"])
def joined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Joined:
    made = Joined(request.param)
    monkeypatch.setattr("hw.cores.cores.Instance", made.add)
    return made


def nobodys_page(context: Any, dut: Joined) -> None:
    """Let a host offer a write and a read of no core's page, and be ready for the answers."""
    for channel in ("aw", "ar"):
        context.set(dut.ports[f"s_axil_{channel}addr"], CORES << LITE_ADDRESS_BITS)
    for name in ("awvalid", "wvalid", "arvalid", "bready", "rready"):
        context.set(dut.ports[f"s_axil_{name}"], 1)


def test_in_the_cycle_after_a_reset_there_is_no_handshake(joined: Joined) -> None:
    """Hosts and memory may offer what they like; what they offer is taken a cycle later, once."""
    ports = joined.ports

    def values(context: Any, prefix: str, *names: str) -> list[int]:
        return [context.get(ports[f"{prefix}_{name}"]) for name in names]

    async def testbench(context: Any) -> None:
        for stand_in in joined.stand_ins:
            for name in ("m_axi_rready", "m_axi_bready"):
                context.set(stand_in.driven[name], 1)
        for cycles in (1, 3):
            nobodys_page(context, joined)
            await context.tick()  # without a reset: the write and the read are taken, and wait
            assert values(context, "s_axil", "bvalid", "rvalid") == [1, 1]
            context.set(joined.reset, 1)
            for _ in range(cycles):
                await context.tick()
            context.set(joined.reset, 0)
            assert joined.handshakes
            assert not any(context.get(signal) for signal in joined.handshakes)
            await context.tick()
            assert values(context, "s_axil", "awready", "wready", "arready") == [1, 1, 1]
            # An answer now would be one to what was not taken.
            assert values(context, "s_axil", "bvalid", "rvalid") == [0, 0]
            assert values(context, "m_axi", "bready", "rready") == [1, 1]
            await context.tick()
            for name in ("awvalid", "wvalid", "arvalid"):
                context.set(ports[f"s_axil_{name}"], 0)
            assert values(context, "s_axil", "bvalid", "rvalid") == [1, 1]
            assert values(context, "s_axil", "bresp", "rresp") == [DECERR, DECERR]
            await context.tick()
            assert values(context, "s_axil", "bvalid", "rvalid") == [0, 0]

    simulate(joined, testbench, deadline=100)


def test_a_reset_ends_what_the_cores_had_asked_for(joined: Joined) -> None:
    """A burst that is offered to the memory and one that waits are dropped."""
    ports = joined.ports

    async def testbench(context: Any) -> None:
        for stand_in in joined.stand_ins:
            context.set(stand_in.driven["m_axi_arvalid"], 1)
        await context.tick().repeat(5)
        assert context.get(ports["m_axi_arvalid"])
        for stand_in in joined.stand_ins:
            context.set(stand_in.driven["m_axi_arvalid"], 0)
        context.set(joined.reset, 1)
        await context.tick()
        context.set(joined.reset, 0)
        for _ in range(10):
            assert not context.get(ports["m_axi_arvalid"])
            await context.tick()

    simulate(joined, testbench, deadline=100)


def test_each_core_has_its_page_its_interrupt_and_its_number(joined: Joined) -> None:
    ports = joined.ports

    async def testbench(context: Any) -> None:
        await context.tick()
        context.set(ports["m_axi_arready"], 1)
        for number, stand_in in enumerate(joined.stand_ins):
            context.set(stand_in.driven["irq"], 1)
            assert context.get(ports["irq"]) == 1 << number
            context.set(stand_in.driven["irq"], 0)
            context.set(ports["s_axil_araddr"], number << LITE_ADDRESS_BITS)
            context.set(ports["s_axil_arvalid"], 1)
            offered = [context.get(one.seen["s_axil_arvalid"]) for one in joined.stand_ins]
            assert offered == [one is stand_in for one in joined.stand_ins]
            context.set(ports["s_axil_arvalid"], 0)
            context.set(stand_in.driven["m_axi_arvalid"], 1)
            await context.tick()
            context.set(stand_in.driven["m_axi_arvalid"], 0)
            while not context.get(ports["m_axi_arvalid"]):
                await context.tick()
            assert context.get(ports["m_axi_arid"]) >> ID_BITS == number
            await context.tick()

    simulate(joined, testbench, deadline=100)
    assert len(joined.stand_ins) == CORES
