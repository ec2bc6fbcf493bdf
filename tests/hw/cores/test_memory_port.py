"""Cores share a memory port: each gets and writes its own bytes, and none is kept waiting."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from hw.contract.bus import BURST, ID_BITS, PAGE_BITS
from hw.contract.system import System
from hw.core.axi import Axi4Signature
from hw.core.dma import ReadPort, WritePort
from hw.cores.memory_interconnect import MemoryInterconnect
from hw.cores.round_robin import RoundRobin
from hw.cores.upsizer import ReadUpsizer, WriteUpsizer
from tests.hw.amaranth_testbench import get, pauses, put, simulate
from tests.hw.cores.shuffling_memory import ShufflingMemory
from tests.hw.small_configs import TINY

WIDE = replace(TINY, lanes=16, group=16, bus_bits=128)
SIZE = 1 << 15
CLIENTS = 2


class Traffic(wiring.Component):
    """A read port and a write port for each core, before all that is between them and a memory."""

    port: Any

    def __init__(self, system: System) -> None:
        self.system = system
        sizes = {"data_bits": system.memory_bits, "id_bits": system.id_bits}
        super().__init__({"port": wiring.Out(Axi4Signature(system.config, **sizes))})
        self.reads = [ReadPort(system.config, CLIENTS) for _ in range(system.cores)]
        self.writes = [WritePort(system.config) for _ in range(system.cores)]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = MemoryInterconnect(self.system)
        connect(m, memory.port, flipped(self.port))
        for number, core in enumerate(memory.cores):
            read, write = self.reads[number], self.writes[number]
            m.submodules += [read, write]
            for one in (read, write):
                m.d.comb += one.window.pages.eq(SIZE >> PAGE_BITS)
            if self.system.ratio == 1:
                connect(m, read.axi, core.read)
                connect(m, write.axi, core.write)
            else:
                m.submodules += [reads := ReadUpsizer(self.system)]
                m.submodules += [writes := WriteUpsizer(self.system)]
                connect(m, read.axi, reads.core)
                connect(m, write.axi, writes.core)
                connect(m, reads.port, core.read)
                connect(m, writes.port, core.write)
        return m


def draw_requests(rng: random.Random, size: int, first: int, end: int) -> list[dict[str, int]]:
    """Runs of beats of `size` bytes between two addresses that do not overlap."""
    requests: list[dict[str, int]] = []
    while True:
        first += size * rng.choice([0, 1, rng.randrange(20)])
        beats = rng.choice([1, rng.randint(1, 9), rng.randint(20, 80)])
        if first + beats * size > end:
            rng.shuffle(requests)
            return requests
        requests.append({"address": first, "beats": beats})
        first += beats * size


def words_of(data: bytes | bytearray, size: int, requests: list[dict[str, int]]) -> list[int]:
    return [
        int.from_bytes(data[at : at + size], "little")
        for request in requests
        for at in range(request["address"], request["address"] + request["beats"] * size, size)
    ]


@pytest.mark.parametrize(
    ("config", "cores", "bits"),
    [
        (TINY, 2, 32),
        (TINY, 3, 128),
        pytest.param(TINY, 2, 1024, marks=pytest.mark.second),
        pytest.param(WIDE, 5, 256, marks=pytest.mark.second),
    ],
)
def test_each_core_reads_and_writes_its_own_bytes(config: Any, cores: int, bits: int) -> None:
    seed = cores * bits
    rng = random.Random(seed)
    dut = Traffic(System(config=config, cores=cores, memory_bits=bits))
    size = config.bus_bytes
    share = 96 * size  # bytes that a core writes
    memory = ShufflingMemory(dut.port, rng.randbytes(SIZE), bits // 8, seed)
    before = bytes(memory.data)
    expected = bytearray(before)
    testbenches = []

    def asks(port: Any, requests: list[dict[str, int]], pause: Any) -> Any:
        async def testbench(context: Any) -> None:
            await put(context, port, requests, pause)

        return testbench

    def takes(port: Any, words: list[int], pause: Any) -> Any:
        async def testbench(context: Any) -> None:
            assert await get(context, port, len(words), pause) == words

        return testbench

    def sends(port: WritePort, words: list[int], pause: Any) -> Any:
        async def testbench(context: Any) -> None:
            await put(context, port.words, words, pause)
            await context.tick().until(port.done)

        return testbench

    for number in range(cores):
        read, write = dut.reads[number], dut.writes[number]
        for client in range(CLIENTS):
            asked = draw_requests(rng, size, 0, share)
            testbenches += [
                asks(read.requests[client], asked, pauses(rng.randrange(99))),
                takes(read.words[client], words_of(before, size, asked), pauses(rng.randrange(99))),
            ]
        first = (1 + number) * share
        written = draw_requests(rng, size, first, first + share)
        for request in written:
            count = request["beats"] * size
            expected[request["address"] : request["address"] + count] = rng.randbytes(count)
        testbenches += [
            asks(write.requests, written, pauses(rng.randrange(99))),
            sends(write, words_of(expected, size, written), pauses(rng.randrange(99))),
        ]
    simulate(dut, *testbenches, background=[memory.serve_reads, memory.serve_writes])
    assert memory.data == expected
    assert {burst >> ID_BITS for _, burst in memory.granted} == set(range(cores))


def test_errors_reach_the_core_that_asked() -> None:
    dut = Traffic(System(config=TINY, cores=2, memory_bits=128))
    memory = ShufflingMemory(dut.port, bytes(SIZE), 16, 1)
    memory.errors = set(range(4096, 8192, 16))
    seen: list[tuple[int, int]] = []

    def works(number: int) -> Any:
        read, write = dut.reads[number], dut.writes[number]
        requests = [{"address": 4096 * (number + 1) + 20, "beats": 50}]

        async def testbench(context: Any) -> None:
            await put(context, read.requests[0], requests, iter([False]))
            await put(context, write.requests, requests, iter([False]))
            await put(context, write.words, [0] * 50, iter([False] * 50))
            await context.tick().until(write.done & read.idle)

        return testbench

    def watches(number: int) -> Any:
        read, write = dut.reads[number], dut.writes[number]

        async def testbench(context: Any) -> None:
            async for _, _, of_read, of_write in context.tick().sample(read.error, write.error):
                seen.extend((number, kind) for kind in (of_read, of_write) if kind)

        return testbench

    background = [memory.serve_reads, memory.serve_writes, watches(0), watches(1)]
    simulate(dut, works(0), works(1), background=background)
    assert {number for number, _ in seen} == {0}


def test_a_core_that_asks_is_served_after_each_other_one_at_most_once() -> None:
    """The others ask all the time; one asks for single beats, for reads and for writes."""
    cores = 4
    dut = Traffic(System(config=TINY, cores=cores, memory_bits=32))
    memory = ShufflingMemory(dut.port, bytes(SIZE), 4, 3)
    asked: dict[str, list[int]] = {"ar": [], "aw": []}

    def busy(number: int) -> Any:
        read, write = dut.reads[number], dut.writes[number]

        async def testbench(context: Any) -> None:
            context.set(read.requests[0].payload, {"address": 0, "beats": SIZE // 4})
            context.set(write.requests.payload, {"address": 0, "beats": SIZE // 4})
            for ready in (read.requests[0].valid, write.requests.valid, read.words[0].ready):
                context.set(ready, 1)
            context.set(write.words.valid, 1)

        return testbench

    async def modest(context: Any) -> None:
        read, write = dut.reads[0], dut.writes[0]
        await context.tick().repeat(200)
        context.set(read.words[0].ready, 1)
        for number in range(5):
            request = [{"address": 128 * number, "beats": 1}]
            asked["ar"].append(len(memory.granted))
            await put(context, read.requests[0], request, iter([False]))
            await context.tick().until(read.axi.rvalid)
            asked["aw"].append(len(memory.granted))
            await put(context, write.requests, request, iter([False]))
            await put(context, write.words, [number], iter([False]))
            await context.tick().until(write.done)

    others = [busy(number) for number in range(1, cores)]
    simulate(dut, modest, *others, background=[memory.serve_reads, memory.serve_writes])
    for channel, starts in asked.items():
        for start in starts:
            granted = [
                burst >> ID_BITS for kind, burst in memory.granted[start:] if kind == channel
            ]
            # One burst of each other core may be on its way to the memory, one may be ahead.
            assert granted.index(0) <= 2 * (cores - 1) + 1
    assert max(granted.count(number) for number in range(1, cores)) > 0


@pytest.mark.parametrize("count", [2, 3, 5, 16])
def test_requests_take_turns(count: int) -> None:
    dut = RoundRobin(count)
    rng = random.Random(count)
    waits = [0] * count

    async def testbench(context: Any) -> None:
        for _ in range(500):
            requests = rng.getrandbits(count) | rng.choice([0, (1 << count) - 1])
            # A request stays until it is served.
            requests |= sum(1 << number for number, wait in enumerate(waits) if wait)
            context.set(dut.requests, requests)
            taken = bool(requests) and rng.random() < 0.7
            context.set(dut.taken, taken)
            grant = context.get(dut.grant)
            if requests:
                assert requests >> grant & 1
            if taken:
                for number in range(count):
                    asks = requests >> number & 1
                    waits[number] = waits[number] + 1 if asks and number != grant else 0
                assert max(waits) < count
            await context.tick()

    simulate(dut, testbench)


def test_the_longest_burst_of_a_wide_port_is_short() -> None:
    """A burst of the core's longest becomes one of fewer wide beats, wherever it begins."""
    system = System(config=TINY, cores=2, memory_bits=128)
    dut = Traffic(system)
    memory = ShufflingMemory(dut.port, bytes(SIZE), 16, 5)
    lengths: list[int] = []

    async def asks(context: Any) -> None:
        requests = [{"address": 0, "beats": 2 * BURST}, {"address": 4, "beats": 2 * BURST - 1}]
        context.set(dut.reads[0].words[0].ready, 1)
        await put(context, dut.reads[0].requests[0], requests, iter([False, False]))
        await context.tick().until(dut.reads[0].idle)

    async def watches(context: Any) -> None:
        read = dut.port.read
        async for _, _, leaves, length in context.tick().sample(
            read.arvalid & read.arready, read.arlen
        ):
            if leaves:
                lengths.append(length + 1)

    simulate(dut, asks, background=[memory.serve_reads, watches])
    assert lengths == [BURST // 4] * 4
