"""The interconnect alone, between cores and a memory that take and give at any time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from hw.contract.bus import ID_BITS
from hw.contract.system import System
from hw.cores.memory_interconnect import MemoryInterconnect
from tests.hw.amaranth_testbench import Testbench, pauses, simulate
from tests.hw.cores.axi_channels import NEVER, blocks, collects, fields_of, offer, watches
from tests.hw.small_configs import TINY

CORES = 3
SYSTEM = System(config=TINY, cores=CORES, memory_bits=32)
REQUEST = ("id", "addr", "len")
DATA = ("data", "strb", "last")

Request = tuple[int, int, int]
"""A burst's ID, address and AxLEN."""


def draw_requests(rng: random.Random, count: int) -> list[Request]:
    return [
        (rng.randrange(1 << ID_BITS), rng.getrandbits(16), rng.randrange(3)) for _ in range(count)
    ]


def asks(core: Any, channel: str, requests: list[Request], pause: Iterator[bool]) -> Testbench:
    """Offer bursts; between them, the channel shows what is not offered."""

    async def testbench(context: Any) -> None:
        for ident, address, length in requests:
            while next(pause):
                await context.tick()
            await offer(context, core, channel, id=ident, addr=address, len=length)
            context.set(getattr(core, f"{channel}addr"), ~address & 0xFFFF)

    return testbench


def split_by_core(taken: list[Request]) -> list[list[Request]]:
    """The bursts of each core in their order, from those at the port."""
    return [
        [
            (ident & (1 << ID_BITS) - 1, address, length)
            for ident, address, length in taken
            if ident >> ID_BITS == number
        ]
        for number in range(CORES)
    ]


@pytest.mark.parametrize("blocked", ["", "aw", "w", "aw w"])
def test_writes_leave_in_the_order_of_their_addresses(blocked: str) -> None:
    """Addresses, and data, wait where the port takes nothing on the other channel, or on both."""
    dut = MemoryInterconnect(SYSTEM)
    port = dut.port.write
    rng = random.Random(len(blocked))
    requests = [draw_requests(rng, 20) for _ in range(CORES)]
    beats: list[list[tuple[int, int, bool]]] = [
        [
            (rng.getrandbits(32), rng.randrange(16), beat == length)
            for *_, length in each
            for beat in range(length + 1)
        ]
        for each in requests
    ]
    total = sum(map(len, beats))
    addresses: list[Any] = []
    data: list[Any] = []

    def sends(number: int) -> Testbench:
        core, pause = dut.cores[number].write, pauses(10 + number)

        async def testbench(context: Any) -> None:
            for word, strobes, last in beats[number]:
                while next(pause):
                    await context.tick()
                await offer(context, core, "w", data=word, strb=strobes, last=last)
                context.set(core.wlast, 1)  # it says nothing while no data are offered

        return testbench

    async def ends(context: Any) -> None:
        if blocked == "w":
            await context.tick().repeat(300)
            assert len(addresses) == 2 * CORES, "one burst of each core leaves, and one waits"
        while len(addresses) < 20 * CORES or len(data) < total:
            await context.tick()
        await context.tick().repeat(20)

    simulate(
        dut,
        *(
            asks(core.write, "aw", requests[number], pauses(number))
            for number, core in enumerate(dut.cores)
        ),
        *map(sends, range(CORES)),
        ends,
        background=[
            collects(port, "aw", REQUEST, addresses, blocks("aw", blocked, 20)),
            collects(port, "w", DATA, data, blocks("w", blocked, 21)),
            watches(port, "aw", REQUEST),
            watches(port, "w", DATA),
        ],
        deadline=10_000,
    )
    assert split_by_core(addresses) == requests
    supplies = [iter(each) for each in beats]
    expected = [
        next(supplies[ident >> ID_BITS])
        for ident, _, length in addresses
        for _ in range(length + 1)
    ]
    assert data == expected


def test_reads_are_asked_for_once_and_in_order() -> None:
    dut = MemoryInterconnect(SYSTEM)
    port = dut.port.read
    rng = random.Random(5)
    requests = [draw_requests(rng, 40) for _ in range(CORES)]
    taken: list[Any] = []

    async def ends(context: Any) -> None:
        while len(taken) < 40 * CORES:
            await context.tick()
        await context.tick().repeat(20)

    simulate(
        dut,
        *(
            asks(core.read, "ar", requests[number], pauses(number))
            for number, core in enumerate(dut.cores)
        ),
        ends,
        background=[
            collects(port, "ar", REQUEST, taken, pauses(20)),
            watches(port, "ar", REQUEST),
        ],
        deadline=10_000,
    )
    assert split_by_core(taken) == requests


@pytest.mark.parametrize("channel", ["ar", "aw"])
def test_a_burst_is_offered_to_a_port_that_waits_for_it(channel: str) -> None:
    """Then one is offered in each cycle, a core's second after the first of every other."""
    dut = MemoryInterconnect(SYSTEM)
    half = "read" if channel == "ar" else "write"
    port, cores = getattr(dut.port, half), [getattr(core, half) for core in dut.cores]
    valid, ready, ident = fields_of(port, channel, ("valid", "ready", "id"))
    requests = [(0, 16 * number, 0) for number in range(2)]

    async def waits(context: Any) -> None:
        await context.tick().until(valid)
        await context.tick().repeat(10)
        context.set(ready, 1)
        owners = []
        while context.get(valid):
            owners.append(context.get(ident) >> ID_BITS)
            await context.tick()
        assert owners[:CORES] == [0, 1, 2]
        # A slot is filled in the cycle after it was emptied.
        assert owners[CORES:] == [0, 1, 2]

    simulate(
        dut,
        *(asks(core, channel, requests, NEVER) for core in cores),
        waits,
        background=[watches(port, channel, REQUEST)],
        deadline=500,
    )


@pytest.mark.parametrize(("channel", "fields"), [("r", ("data", "resp", "last")), ("b", ("resp",))])
def test_a_response_reaches_its_core_and_no_other(channel: str, fields: tuple[str, ...]) -> None:
    dut = MemoryInterconnect(SYSTEM)
    half = "read" if channel == "r" else "write"
    port, cores = getattr(dut.port, half), [getattr(core, half) for core in dut.cores]
    rng = random.Random(9)

    async def testbench(context: Any) -> None:
        for _ in range(100):
            valid, owner = rng.randrange(2), rng.randrange(CORES)
            ident = rng.randrange(1 << ID_BITS)
            said = [rng.getrandbits(len(one)) for one in fields_of(port, channel, fields)]
            values = [valid, owner << ID_BITS | ident, *said]
            for signal, value in zip(
                fields_of(port, channel, ("valid", "id", *fields)), values, strict=True
            ):
                context.set(signal, value)
            ready = [rng.randrange(2) for _ in range(CORES)]
            for core, value in zip(cores, ready, strict=True):
                context.set(getattr(core, f"{channel}ready"), value)
            offered = [context.get(getattr(core, f"{channel}valid")) for core in cores]
            assert offered == [valid and number == owner for number in range(CORES)]
            seen = [context.get(one) for one in fields_of(cores[owner], channel, ("id", *fields))]
            assert seen == [ident, *said]
            assert context.get(getattr(port, f"{channel}ready")) == ready[owner]
            await context.tick()

    simulate(dut, testbench)
