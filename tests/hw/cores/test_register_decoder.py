"""Each core has its page of registers; a page of nobody answers with an error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from hw.contract.bus import LITE_ADDRESS_BITS
from hw.contract.registers import ID, REGISTERS
from hw.contract.system import System
from hw.core.axi import Axi4LiteSignature
from hw.core.register_block import RegisterBlock
from hw.cores.register_decoder import RegisterDecoder
from tests.hw.amaranth_testbench import Testbench, pauses, simulate
from tests.hw.cores.axi_channels import fields_of, offer, watches
from tests.hw.small_configs import TINY

CORES = 3
SYSTEM = System(config=TINY, cores=CORES, memory_bits=32)
SLVERR, DECERR = 2, 3


class Blocks(wiring.Component):
    """The registers of several cores behind one port."""

    port: Any

    def __init__(self) -> None:
        super().__init__({"port": In(Axi4LiteSignature(SYSTEM.lite_address_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = RegisterDecoder(SYSTEM)
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


class Transfers:
    """A host and cores that take and answer transfers of one kind at any time.

    The host offers the next transfer before the one before is answered, and is ready for an answer
    before it comes. A core's answer is OKAY or SLVERR, with any data.
    """

    def __init__(self, dut: Any, channels: tuple[str, ...], response: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.port, self.cores = dut.port, dut.cores
        self.channels, self.response = channels, response
        self.says = ("resp", "data") if response == "r" else ("resp",)
        self.addresses = [
            self.rng.randrange(CORES + 1) << LITE_ADDRESS_BITS | 4 * self.rng.randrange(1024)
            for _ in range(80)
        ]
        self.words = [self.rng.getrandbits(32) for _ in self.addresses]
        self.seen: list[tuple[int, ...]] = []
        """Core, address and data of each transfer that a core took."""
        self.given: list[tuple[int, ...]] = []
        """What each answer of a core says."""
        self.answers: list[tuple[int, ...]] = []
        """What each answer at the port says."""

    def offers(self, channel: str, pause: Iterator[bool]) -> Testbench:
        async def testbench(context: Any) -> None:
            for address, word in zip(self.addresses, self.words, strict=True):
                while next(pause):
                    await context.tick()
                fields = {"data": word, "strb": 0b1111} if channel == "w" else {"addr": address}
                await offer(context, self.port, channel, **fields)

        return testbench

    async def ends(self, context: Any) -> None:
        pause = chain(repeat(False, 200), pauses(self.seed))
        ready, valid = fields_of(self.port, self.response, ("ready", "valid"))
        said = fields_of(self.port, self.response, self.says)
        while len(self.answers) < len(self.addresses):
            context.set(ready, not next(pause))
            _, _, taken, *values = await context.tick().sample(ready & valid, *said)
            if taken:
                self.answers.append(tuple(values))
        context.set(ready, 0)
        for _ in range(20):
            await context.tick()
            assert not context.get(valid), "nothing is answered twice"

    def serves(self, number: int) -> Testbench:
        """A core: it takes all channels of a transfer together, and answers it later."""
        core, address = self.cores[number], self.channels[0]
        pause = pauses(10 * self.seed + number)
        readies = [getattr(core, f"{channel}ready") for channel in self.channels]
        valids = [getattr(core, f"{channel}valid") for channel in self.channels]
        taken_fields = [getattr(core, f"{address}addr")]
        if "w" in self.channels:
            taken_fields.append(core.wdata)
        valid, ready = fields_of(core, self.response, ("valid", "ready"))

        async def testbench(context: Any) -> None:
            while True:
                takes = not next(pause)
                for one in readies:
                    context.set(one, takes)
                _, _, *offered = await context.tick().sample(*valids, *taken_fields)
                if not (takes and offered[0]):
                    continue
                assert all(offered[: len(valids)])
                self.seen.append((number, *offered[len(valids) :]))
                # It could take the next one at once, which must wait for this answer.
                while next(pause):
                    *_, again = await context.tick().sample(valids[0])
                    assert not again, "one is under way at a time"
                said = [self.rng.choice([0, SLVERR]), self.rng.getrandbits(32)][: len(self.says)]
                self.given.append(tuple(said))
                for one, value in zip(fields_of(core, self.response, self.says), said, strict=True):
                    context.set(one, value)
                context.set(valid, 1)
                taken = False
                while not taken:
                    *_, taken, again = await context.tick().sample(ready, valids[0])
                    assert not again, "one is under way at a time"
                context.set(valid, 0)

        return testbench

    async def one_core_is_asked(self, context: Any) -> None:
        """An answer is taken of the core that owes it alone."""
        moves = [
            getattr(self.port, f"{channel}valid") & getattr(self.port, f"{channel}ready")
            for channel in (self.channels[0], self.response)
        ]
        readies = [getattr(core, f"{self.response}ready") for core in self.cores]
        under_way = False
        async for _, _, taken, answered, *ready in context.tick().sample(*moves, *readies):
            if any(ready):
                assert under_way
                assert sum(ready) == 1
                assert ready.index(1) == self.seen[-1][0]
            under_way = taken or (under_way and not answered)

    def check(self) -> None:
        given = iter(self.given)
        pages = [divmod(address, 1 << LITE_ADDRESS_BITS) for address in self.addresses]
        of_nobody = (DECERR, 0)[: len(self.says)]
        expected = [of_nobody if page == CORES else next(given) for page, _ in pages]
        assert self.answers == expected
        written = "w" in self.channels
        assert self.seen == [
            (page, offset, word) if written else (page, offset)
            for (page, offset), word in zip(pages, self.words, strict=True)
            if page < CORES
        ]


@pytest.mark.parametrize("seed", [1, 2])
def test_each_transfer_is_taken_once_and_answered_once(seed: int) -> None:
    """Writes and reads run at the same time; address and data of a write come in either order."""
    dut = RegisterDecoder(SYSTEM)
    writes = Transfers(dut, ("aw", "w"), "b", seed)
    reads = Transfers(dut, ("ar",), "r", seed + 2)
    simulate(
        dut,
        writes.offers("aw", pauses(seed)),
        writes.offers("w", pauses(seed + 10)),
        reads.offers("ar", chain(repeat(False, 100), pauses(seed + 20))),
        writes.ends,
        reads.ends,
        background=[
            *(each.serves(number) for each in (writes, reads) for number in range(CORES)),
            writes.one_core_is_asked,
            reads.one_core_is_asked,
            watches(dut.port, "b", writes.says),
            watches(dut.port, "r", reads.says),
        ],
        deadline=20_000,
    )
    writes.check()
    reads.check()


@pytest.mark.parametrize("first", ["aw", "w"])
@pytest.mark.parametrize("core", [0, CORES - 1, CORES])
def test_a_write_waits_for_its_address_and_for_its_data(first: str, core: int) -> None:
    """A core that would take either alone is offered neither, and the port takes neither."""
    dut = RegisterDecoder(SYSTEM)
    port = dut.port
    second = "w" if first == "aw" else "aw"

    async def testbench(context: Any) -> None:
        for one in dut.cores:
            context.set(one.awready, 1)
            context.set(one.wready, 1)
        context.set(port.awaddr, core << LITE_ADDRESS_BITS)
        context.set(getattr(port, f"{first}valid"), 1)
        for _ in range(5):
            assert not context.get(port.awready)
            assert not context.get(port.wready)
            for one in dut.cores:
                assert not context.get(one.awvalid)
                assert not context.get(one.wvalid)
            assert not context.get(port.bvalid)
            await context.tick()
        context.set(getattr(port, f"{second}valid"), 1)
        assert context.get(port.awready)
        assert context.get(port.wready)
        offered = [context.get(one.awvalid & one.wvalid) for one in dut.cores]
        assert offered == [number == core for number in range(CORES)]

    simulate(dut, testbench)
