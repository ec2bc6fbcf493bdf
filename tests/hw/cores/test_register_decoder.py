"""Each core has its page of registers; a page of nobody answers with an error."""

from __future__ import annotations

import random
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from hw.contract.bus import LITE_ADDRESS_BITS
from hw.contract.registers import ID, REGISTERS
from hw.contract.system import System
from hw.core.axi import Axi4LiteSignature
from hw.core.register_block import RegisterBlock
from hw.cores.register_decoder import RegisterDecoder
from tests.hw.amaranth_testbench import pauses, simulate
from tests.hw.small_configs import TINY

CORES = 3
DECERR = 3


class Blocks(wiring.Component):
    """The registers of several cores behind one port."""

    port: Any

    def __init__(self) -> None:
        self.system = System(config=TINY, cores=CORES, memory_bits=32)
        super().__init__({"port": In(Axi4LiteSignature(self.system.lite_address_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = RegisterDecoder(self.system)
        connect(m, flipped(self.port), decoder.port)
        for core in decoder.cores:
            m.submodules += (block := RegisterBlock())
            connect(m, core, block.s_axil)
        return m


async def hand_over(context: Any, port: Any, channel: str, pause: Any) -> None:
    while next(pause):
        await context.tick()
    context.set(getattr(port, f"{channel}valid"), 1)
    await context.tick().until(getattr(port, f"{channel}ready"))
    context.set(getattr(port, f"{channel}valid"), 0)


def test_writes_and_reads_reach_one_core() -> None:
    dut = Blocks()
    port = dut.port
    rng = random.Random(4)
    values = {(core, name): 0 for core in range(CORES) for name in ("base_low", "program")}
    order = [rng.choice([*values, (CORES, "program")]) for _ in range(120)]

    def address(core: int, name: str) -> int:
        return core << LITE_ADDRESS_BITS | REGISTERS[name].offset

    async def answer(context: Any, channel: str, pause: Any) -> int:
        while next(pause):
            await context.tick()
        ready, valid = (getattr(port, f"{channel}{name}") for name in ("ready", "valid"))
        context.set(ready, 1)
        response = getattr(port, f"{channel}resp")
        *_, said = await context.tick().sample(response).until(valid)
        context.set(ready, 0)
        return said

    async def host(context: Any) -> None:
        pause = pauses(1)
        for core, name in order:
            value = rng.getrandbits(32)
            context.set(port.awaddr, address(core, name))
            context.set(port.wdata, value)
            context.set(port.wstrb, 0b1111)
            context.set(port.awvalid, 1)
            while next(pause):  # the data may come later than the address
                await context.tick()
            context.set(port.wvalid, 1)
            await context.tick().until(port.awready & port.wready)
            context.set(port.awvalid, 0)
            context.set(port.wvalid, 0)
            assert await answer(context, "b", pause) == (DECERR if core == CORES else 0)
            if core < CORES:
                values[core, name] = value
            core, name = rng.choice([*values, (CORES, "id"), (0, "id")])
            context.set(port.araddr, address(core, name))
            await hand_over(context, port, "ar", pause)
            while not context.get(port.rvalid):
                await context.tick()
            expected = 0 if core == CORES else values.get((core, name), ID)
            assert context.get(port.rdata) == expected
            assert await answer(context, "r", pause) == (DECERR if core == CORES else 0)

    simulate(dut, host)
