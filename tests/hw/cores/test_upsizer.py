"""The upsizers before a memory that they must not hold up, and behind a core that may stall."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from hw.contract.bus import BURST, ID_BITS
from hw.contract.system import System
from hw.contract.timing import READ_QUEUE
from hw.cores.upsizer import ReadUpsizer, WriteUpsizer
from tests.hw.amaranth_testbench import pauses, simulate
from tests.hw.cores.axi_channels import NEVER, blocks, collects, fields_of, offer, watches
from tests.hw.small_configs import TINY

NARROW = TINY.bus_bits // 8
SIZE = 1 << 14
RESPONSES = (0, 2, 3)
ADDRESS = ("addr", "len")

Burst = tuple[int, int, int]
"""A core's burst: ID, address, and AxLEN."""


def of_bits(bits: int) -> System:
    return System(config=TINY, cores=2, memory_bits=bits)


def draw_bursts(rng: random.Random, count: int) -> list[Burst]:
    """Bursts inside their blocks; half of them have one or two beats."""
    bursts = []
    for _ in range(count):
        first = rng.randrange(BURST)
        length = rng.choice([rng.randrange(2), rng.randrange(BURST)])
        block = rng.randrange(SIZE // (BURST * NARROW)) * BURST
        address = (block + first) * NARROW
        bursts.append((rng.randrange(1 << ID_BITS), address, min(length, BURST - 1 - first)))
    return bursts


def wide_burst(burst: Burst, wide: int) -> tuple[int, int]:
    """Address and AxLEN of the wide beats that a burst touches."""
    _, address, length = burst
    first, last = address // wide, (address + length * NARROW) // wide
    return first * wide, last - first


class Memory:
    """Answers a port's reads in order, as fast as `pause` allows; it must never be held up."""

    def __init__(self, port: Any, wide: int, pause: Iterator[bool] = NEVER) -> None:
        self.data = random.Random(wide).randbytes(SIZE)
        self.asked: list[tuple[int, int]] = []
        self._port = port
        self._wide = wide
        self._pause = pause

    def response(self, address: int) -> int:
        """RRESP of the beat with this address."""
        return RESPONSES[address // self._wide % len(RESPONSES)]

    def narrow_beats(self, burst: Burst) -> list[tuple[int, int, int, int]]:
        """ID, data, response and last of each beat that a core's burst has to return."""
        ident, first, length = burst
        addresses = range(first, first + (length + 1) * NARROW, NARROW)
        return [
            (
                ident,
                int.from_bytes(self.data[address : address + NARROW], "little"),
                self.response(address),
                address == addresses[-1],
            )
            for address in addresses
        ]

    async def answers(self, context: Any) -> None:
        """Answer for ever what `asked` has; run it as a background testbench."""
        port = self._port
        done = 0
        while True:
            if done == len(self.asked):
                await context.tick()
                continue
            address, length = self.asked[done]
            done += 1
            for beat in range(length + 1):
                while next(self._pause):
                    await context.tick()
                at = address + beat * self._wide
                word = int.from_bytes(self.data[at : at + self._wide], "little")
                context.set(port.rdata, word)
                context.set(port.rresp, self.response(at))
                context.set(port.rlast, beat == length)
                context.set(port.rvalid, 1)
                assert context.get(port.rready), "the port is held up"
                await context.tick()
                context.set(port.rvalid, 0)
                context.set(port.rdata, 0)


@pytest.mark.parametrize("bits", [64, 128])
def test_reads_keep_their_order_and_their_bytes(bits: int) -> None:
    dut = ReadUpsizer(of_bits(bits))
    core, port, wide = dut.core, dut.port, bits // 8
    bursts = draw_bursts(random.Random(bits), 70)
    memory = Memory(port, wide, pauses(bits))
    expected = [beat for burst in bursts for beat in memory.narrow_beats(burst)]
    got: list[Any] = []

    async def asks(context: Any) -> None:
        pause = pauses(bits + 1)
        for ident, address, length in bursts:
            while next(pause):
                await context.tick()
            await offer(context, core, "ar", id=ident, addr=address, len=length)
        while len(got) < len(expected):
            await context.tick()
        await context.tick().repeat(20)

    beats = ("id", "data", "resp", "last")
    simulate(
        dut,
        asks,
        background=[
            memory.answers,
            collects(port, "ar", ADDRESS, memory.asked, pauses(bits + 2)),
            collects(core, "r", beats, got, pauses(bits + 3)),
            watches(port, "ar", ADDRESS),
            watches(core, "r", beats),
        ],
        deadline=20_000,
    )
    assert memory.asked == [wide_burst(burst, wide) for burst in bursts]
    assert got == expected


@pytest.mark.parametrize(("lane", "length"), [(0, BURST - 1), (3, 0), (3, 1), (1, 5)])
def test_reads_are_asked_for_as_long_as_the_queue_has_space(lane: int, length: int) -> None:
    """The core asks all the time and takes beats only now and then; the memory answers at once.

    So space that is counted twice overflows the queue, and space that is lost is missed by the next
    stall.
    """
    wide = 4 * NARROW
    dut = ReadUpsizer(of_bits(8 * wide))
    core, port = dut.core, dut.port
    memory = Memory(port, wide)
    burst = (2, lane * NARROW, length)
    words = 1 + wide_burst(burst, wide)[1]
    space = 2 * READ_QUEUE // 4
    taken: list[Any] = []
    expected: list[Any] = []

    async def asks(context: Any) -> None:
        while True:
            await offer(context, core, "ar", id=burst[0], addr=burst[1], len=burst[2])

    async def stalls(context: Any) -> None:
        for bursts in (0, 3, 20):
            beats = bursts * (length + 1)
            expected.extend(memory.narrow_beats(burst) * bursts)
            context.set(core.rready, 1)
            for _ in range(beats):
                beat = fields_of(core, "r", ("id", "data", "resp", "last"))
                taken.append(tuple(await context.tick().sample(*beat).until(core.rvalid)))
            context.set(core.rready, 0)
            await context.tick().repeat(4 * space)
            assert taken == expected
            asked = sum(length + 1 for _, length in memory.asked)
            left = len(taken) // (length + 1) * words
            assert asked == left + space // words * words

    simulate(
        dut,
        stalls,
        background=[memory.answers, asks, collects(port, "ar", ADDRESS, memory.asked, NEVER)],
        deadline=5_000,
    )
    assert len(taken) == 23 * (length + 1)


def test_a_read_is_offered_to_a_port_that_waits_for_it() -> None:
    """The next one is offered in the cycle after the one before was taken."""
    dut = ReadUpsizer(of_bits(128))
    core, port = dut.core, dut.port

    async def asks(context: Any) -> None:
        for number in range(3):
            await offer(context, core, "ar", id=0, addr=BURST * NARROW * number, len=number)

    async def waits(context: Any) -> None:
        await context.tick().until(port.arvalid)
        await context.tick().repeat(10)
        assert context.get(port.araddr) == 0
        assert not context.get(core.arready), "two of three requests have found a place"
        context.set(port.arready, 1)
        await context.tick()
        assert context.get(port.arvalid)
        assert context.get(port.araddr) == BURST * NARROW
        await context.tick()
        assert not context.get(port.arvalid), "nothing is offered twice"
        await context.tick().until(port.arvalid)

    simulate(dut, asks, waits, background=[watches(port, "ar", ADDRESS)], deadline=500)


@pytest.mark.parametrize(
    ("blocked", "bits"), [("", 64), ("", 128), ("aw", 128), ("w", 128), ("aw w", 128)]
)
def test_writes_keep_their_order_and_their_bytes(blocked: str, bits: int) -> None:
    """The core's data may come before or after the address, and pause.

    A port may take data before their address, or addresses before their data, and some begin by
    taking nothing on a channel for long.
    """
    dut = WriteUpsizer(of_bits(bits))
    core, port, wide = dut.core, dut.port, bits // 8
    rng = random.Random(bits)
    bursts = [(3, 0, 0)] * 8 + draw_bursts(rng, 45)
    expected: list[tuple[int, int, int]] = []  # data where it is written, strobes, last
    beats: list[tuple[int, int, bool]] = []
    for _, address, length in bursts:
        first, words = wide_burst((0, address, length), wide)
        data, strobes = bytearray((words + 1) * wide), [0] * ((words + 1) * wide)
        for number in range(length + 1):
            value, strobe = rng.randbytes(NARROW), rng.choice([0b1111, rng.randrange(16)])
            beats.append((int.from_bytes(value, "little"), strobe, number == length))
            for byte in range(NARROW):
                at = address - first + number * NARROW + byte
                strobes[at] = strobe >> byte & 1
                data[at] = value[byte] * strobes[at]
        for number in range(words + 1):
            part = slice(number * wide, (number + 1) * wide)
            marks = sum(mark << byte for byte, mark in enumerate(strobes[part]))
            expected.append((int.from_bytes(data[part], "little"), marks, number == words))
    addresses: list[Any] = []
    words_taken: list[Any] = []

    async def asks(context: Any) -> None:
        pause = pauses(bits + 1)
        for ident, address, length in bursts:
            while next(pause):
                await context.tick()
            await offer(context, core, "aw", id=ident, addr=address, len=length)
            # What is not offered says nothing.
            context.set(core.awaddr, rng.randrange(SIZE))
            context.set(core.awlen, rng.randrange(BURST))

    async def sends(context: Any) -> None:
        pause = pauses(bits + 2)
        for data, strobe, last in beats:
            while next(pause):
                await context.tick()
            await offer(context, core, "w", data=data, strb=strobe, last=last)
            context.set(core.wlast, rng.randrange(2))
            context.set(core.wstrb, 0b1111)

    async def ends(context: Any) -> None:
        while len(addresses) < len(bursts) or len(words_taken) < len(expected):
            await context.tick()
        await context.tick().repeat(20)

    fields = ("data", "strb", "last")
    simulate(
        dut,
        asks,
        sends,
        ends,
        background=[
            collects(port, "aw", ADDRESS, addresses, blocks("aw", blocked, bits + 3)),
            collects(port, "w", fields, words_taken, blocks("w", blocked, bits + 4)),
            watches(port, "aw", ADDRESS),
            watches(port, "w", fields),
        ],
        deadline=20_000,
    )
    assert addresses == [wide_burst(burst, wide) for burst in bursts]
    written = []
    for word, strobes, last in words_taken:
        mask = sum(0xFF << 8 * byte for byte in range(wide) if strobes >> byte & 1)
        written.append((word & mask, strobes, last))
    assert written == expected


@pytest.mark.parametrize(("blocked", "most"), [("aw", 3), ("w", 18)])
def test_a_blocked_port_stops_the_writes_that_it_has_no_place_for(blocked: str, most: int) -> None:
    """Bursts of one beat are collected until their addresses, or their words, fill a queue."""
    dut = WriteUpsizer(of_bits(128))
    core, port = dut.core, dut.port
    taken: list[Any] = []

    async def asks(context: Any) -> None:
        while True:
            await offer(context, core, "aw", addr=0, len=0)

    async def sends(context: Any) -> None:
        while True:
            await offer(context, core, "w", data=0, strb=0b1111, last=1)
            taken.append(())

    async def waits(context: Any) -> None:
        context.set(port.awready, blocked != "aw")
        context.set(port.wready, blocked != "w")
        await context.tick().repeat(100)
        assert len(taken) == most
        context.set(port.awready, 1)
        context.set(port.wready, 1)
        await context.tick().repeat(100)
        assert len(taken) >= most + 30, "it goes on"

    simulate(dut, waits, background=[asks, sends], deadline=500)


def test_responses_of_writes_pass_unchanged() -> None:
    dut = WriteUpsizer(of_bits(128))
    core, port = dut.core, dut.port
    rng = random.Random(1)

    async def testbench(context: Any) -> None:
        for _ in range(50):
            values = rng.randrange(2), rng.randrange(1 << ID_BITS), rng.randrange(4)
            for signal, value in zip(
                fields_of(port, "b", ("valid", "id", "resp")), values, strict=True
            ):
                context.set(signal, value)
            ready = rng.randrange(2)
            context.set(core.bready, ready)
            seen = [context.get(one) for one in fields_of(core, "b", ("valid", "id", "resp"))]
            assert tuple(seen) == values
            assert context.get(port.bready) == ready
            await context.tick()

    simulate(dut, testbench)
