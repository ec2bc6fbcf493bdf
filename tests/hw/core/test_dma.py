"""Read and write port: every byte arrives, in bursts that AXI allows, and a halted port stops."""

import random
from dataclasses import replace
from typing import Any

import pytest

from hw.contract.bus import BURST, PAGE_BITS
from hw.contract.config import Config
from hw.contract.timing import READ_QUEUE
from hw.core.dma import ReadPort, WritePort
from tests.hw.amaranth_testbench import Testbench, get, pauses, put, simulate
from tests.hw.axi_memory import AxiMemory
from tests.hw.small_configs import TINY

WIDE = replace(TINY, lanes=16, group=16, bus_bits=128)
SIZE = 1 << 16
BASE = 0x12345 << PAGE_BITS
"""The window's address."""


def draw_requests(config: Config, rng: random.Random, count: int) -> list[dict[str, int]]:
    """Runs of one beat and of many, up to the end of a page, that do not overlap."""
    requests = []
    size = config.bus_bytes
    for number in range(count):
        start = number * (SIZE // count)
        beats = rng.choice([1, rng.randint(1, 40), rng.randint(100, 150)])
        address = start + rng.randrange((SIZE // count) // size - beats) * size
        requests.append({"address": address, "beats": beats})
    rng.shuffle(requests)
    return requests


def window(dut: ReadPort | WritePort, pages: int = SIZE >> PAGE_BITS) -> Testbench:
    """Set the window of a port."""

    async def testbench(context: Any) -> None:
        context.set(dut.window.page, BASE >> PAGE_BITS)
        context.set(dut.window.pages, pages)

    return testbench


def words_of(config: Config, data: bytes | bytearray, requests: list[dict[str, int]]) -> list[int]:
    size = config.bus_bytes
    return [
        int.from_bytes(data[at : at + size], "little")
        for request in requests
        for at in range(request["address"], request["address"] + request["beats"] * size, size)
    ]


@pytest.mark.parametrize("config", [TINY, WIDE], ids=["32 bits", "128 bits"])
def test_each_client_gets_its_own_words_in_order(config: Config) -> None:
    rng = random.Random(1)
    dut = ReadPort(config, 3)
    memory = AxiMemory(dut.axi, rng.randbytes(SIZE), config.bus_bytes, base=BASE)
    asked = [draw_requests(config, rng, 16) for _ in range(3)]

    def asks(number: int) -> Any:
        async def testbench(context: Any) -> None:
            await put(context, dut.requests[number], asked[number], pauses(number))

        return testbench

    def takes(number: int) -> Any:
        async def testbench(context: Any) -> None:
            expected = words_of(config, memory.data, asked[number])
            words = await get(context, dut.words[number], len(expected), pauses(9 + number))
            assert words == expected

        return testbench

    parts = [part(number) for number in range(3) for part in (asks, takes)]
    simulate(dut, *parts, background=[window(dut), memory.serve_reads])
    assert max(beats for _, beats in memory.reads) == BURST


def test_a_client_that_takes_nothing_asks_for_no_more_than_its_queue_holds() -> None:
    dut = ReadPort(TINY, 2)
    memory = AxiMemory(dut.axi, bytes(SIZE), TINY.bus_bytes, base=BASE)

    async def check(context: Any) -> None:
        await put(
            context, dut.requests[1], [{"address": 0, "beats": 4 * READ_QUEUE}], iter([False])
        )
        await context.tick().repeat(20 * READ_QUEUE)
        assert sum(beats for _, beats in memory.reads) == READ_QUEUE
        assert context.get(dut.idle)

    simulate(dut, check, background=[window(dut), memory.serve_reads])


@pytest.mark.parametrize("seed", range(3))
def test_a_halted_port_asks_no_more_and_comes_to_rest(seed: int) -> None:
    dut = ReadPort(TINY, 2)
    memory = AxiMemory(dut.axi, bytes(SIZE), TINY.bus_bytes, seed, base=BASE)
    memory.errors.add(4 * BURST * TINY.bus_bytes)
    errors: list[int] = []

    async def take(context: Any) -> None:
        context.set(dut.words[0].ready, 1)
        async for _, _, error in context.tick().sample(dut.error):
            errors.append(error)

    async def check(context: Any) -> None:
        await put(context, dut.requests[0], [{"address": 0, "beats": 16 * BURST}], iter([False]))
        while not any(errors):
            await context.tick()
        context.set(dut.halt, 1)
        await context.tick().repeat(2)
        begun = len(memory.reads)
        await context.tick().repeat(20 * BURST)
        assert context.get(dut.idle)
        assert len(memory.reads) <= begun + 1  # one was offered already

    simulate(dut, check, background=[window(dut), memory.serve_reads, take])


@pytest.mark.parametrize("config", [TINY, WIDE], ids=["32 bits", "128 bits"])
def test_what_is_written_arrives_and_nothing_else(config: Config) -> None:
    rng = random.Random(2)
    dut = WritePort(config)
    before = rng.randbytes(SIZE)
    size = config.bus_bytes
    memory = AxiMemory(dut.axi, before, size, base=BASE)
    requests = draw_requests(config, rng, 16)
    data = {request["address"]: rng.randbytes(request["beats"] * size) for request in requests}
    expected = bytearray(before)
    for address, text in data.items():
        expected[address : address + len(text)] = text

    async def ask(context: Any) -> None:
        await put(context, dut.requests, requests, pauses(1))

    async def send(context: Any) -> None:
        words = words_of(config, expected, requests)
        await put(context, dut.words, words, pauses(2))
        await context.tick().until(dut.done)
        assert memory.data == expected

    simulate(dut, ask, send, background=[window(dut), memory.serve_writes])
    assert max(beats for _, beats in memory.writes) == BURST


def test_a_port_that_is_offered_a_request_is_not_done() -> None:
    dut = WritePort(TINY)

    async def check(context: Any) -> None:
        await context.tick()
        assert context.get(dut.done)
        context.set(dut.requests.payload.beats, 1)
        context.set(dut.requests.valid, 1)
        assert context.get(dut.idle)
        assert not context.get(dut.done)

    simulate(dut, check)


def test_a_burst_whose_words_are_missing_is_not_begun() -> None:
    dut = WritePort(TINY)
    memory = AxiMemory(dut.axi, bytes(SIZE), TINY.bus_bytes, base=BASE)

    async def check(context: Any) -> None:
        await put(context, dut.requests, [{"address": 0, "beats": 8}], iter([False]))
        await put(context, dut.words, range(7), iter(lambda: False, None))
        await context.tick().repeat(100)
        assert memory.writes == []
        assert context.get(dut.idle)
        assert not context.get(dut.done)
        await put(context, dut.words, [7], iter([False]))
        await context.tick().until(dut.done)
        assert memory.writes == [(0, 8)]

    simulate(dut, check, background=[window(dut), memory.serve_writes])


@pytest.mark.parametrize("first", [0, 2 * BURST, 1024 - 4 * BURST - 1, 1024 - 3, 5000])
def test_a_read_that_leaves_the_window_stops_before_it_leaves(first: int) -> None:
    """The window is one page of 1,024 beats; the run is longer than four bursts."""
    dut = ReadPort(TINY, 2)
    size = TINY.bus_bytes
    memory = AxiMemory(dut.axi, bytes(range(256)) * 16, size, base=BASE)
    beats = 1024 - first + 1 if first < 1024 else 4

    async def check(context: Any) -> None:
        context.set(dut.words[0].ready, 1)
        await put(context, dut.requests[0], [{"address": first * size, "beats": beats}], pauses(1))
        await context.tick().until(dut.outside[0])
        await context.tick().repeat(20 * BURST)
        assert context.get(dut.outside) == 0b01
        assert context.get(dut.idle)
        assert sum(count for _, count in memory.reads) == max(1024 - first, 0)
        await put(context, dut.requests[1], [{"address": 0, "beats": 2}], iter([False]))
        assert len(await get(context, dut.words[1], 2, pauses(2))) == 2
        assert context.get(dut.outside) == 0b01

    simulate(dut, check, background=[window(dut, 1), memory.serve_reads])


@pytest.mark.parametrize("first", [1024 - 2 * BURST - 5, 1024, (1 << 30) - 8])
def test_a_write_that_leaves_the_window_stops_before_it_leaves(first: int) -> None:
    """The last case is at the end of all offsets, from where a run would go on at 0."""
    dut = WritePort(TINY)
    size = TINY.bus_bytes
    memory = AxiMemory(dut.axi, bytes(4096), size, base=BASE)
    inside = max(1024 - first, 0)

    async def check(context: Any) -> None:
        request = {"address": first * size, "beats": inside + 16}
        await put(context, dut.requests, [request], iter([False]))
        await put(context, dut.words, range(1, inside + 16), iter(lambda: False, None))
        await context.tick().until(dut.outside)
        await context.tick().repeat(8 * BURST)
        assert context.get(dut.idle)
        assert context.get(dut.outside)
        assert not context.get(dut.done)
        assert sum(count for _, count in memory.writes) == inside
        written = [at // size for at in range(0, 4096, size) if any(memory.data[at : at + size])]
        assert written == list(range(1024 - inside, 1024))

    simulate(dut, check, background=[window(dut, 1), memory.serve_writes])


OKAY, SLVERR, DECERR = 0, 2, 3


def test_no_more_than_sixteen_bursts_wait_for_their_responses() -> None:
    """The seventeenth begins when the first is answered; until all are, the port is not idle."""
    dut = WritePort(TINY)
    axi = dut.axi
    begun = 0

    async def ask(context: Any) -> None:
        requests = [{"address": 64 * number, "beats": 1} for number in range(20)]
        await put(context, dut.requests, requests, iter(lambda: False, None))

    async def send(context: Any) -> None:
        await put(context, dut.words, range(20), iter(lambda: False, None))

    async def count(context: Any) -> None:
        nonlocal begun
        async for _, _, starts in context.tick().sample(axi.awvalid & axi.awready):
            begun += starts

    async def check(context: Any) -> None:
        context.set(axi.awready, 1)
        context.set(axi.wready, 1)
        await context.tick().repeat(200)
        assert begun == 16
        assert not context.get(dut.idle)
        for answered in range(1, 21):
            assert not context.get(dut.idle)
            assert not context.get(dut.done)
            context.set(axi.bvalid, 1)
            await context.tick()
            context.set(axi.bvalid, 0)
            await context.tick().repeat(20)
            assert begun == min(16 + answered, 20)
        assert context.get(dut.idle)
        assert context.get(dut.done)

    simulate(dut, ask, send, check, background=[window(dut), count])


@pytest.mark.parametrize(("response", "is_error"), [(OKAY, 0), (SLVERR, 1), (DECERR, 1)])
def test_either_error_response_is_an_error_of_its_cycle(response: int, is_error: int) -> None:
    read, write = ReadPort(TINY, 2), WritePort(TINY)

    async def reads(context: Any) -> None:
        context.set(read.axi.rresp, response)
        for valid in (0, 1, 0):
            context.set(read.axi.rvalid, valid)
            assert context.get(read.error) == (is_error & valid)
            assert context.get(read.beat) == valid
            await context.tick()

    async def writes(context: Any) -> None:
        context.set(write.axi.bresp, response)
        for valid in (0, 1, 0):
            context.set(write.axi.bvalid, valid)
            assert context.get(write.error) == (is_error & valid)
            await context.tick()

    simulate(read, reads)
    simulate(write, writes)


def test_a_port_with_a_burst_on_offer_or_under_way_is_not_idle() -> None:
    """Also while it is halted: `idle` says that the memory owes nothing."""
    dut = ReadPort(TINY, 2)
    axi = dut.axi

    async def check(context: Any) -> None:
        context.set(dut.words[0].ready, 1)
        await put(context, dut.requests[0], [{"address": 0, "beats": 2}], iter([False]))
        await context.tick().until(axi.arvalid)
        context.set(dut.halt, 1)
        for _ in range(5):  # on offer
            assert context.get(axi.arvalid)
            assert not context.get(dut.idle)
            await context.tick()
        context.set(axi.arready, 1)
        await context.tick()
        context.set(axi.arready, 0)
        for _ in range(5):  # under way
            assert not context.get(axi.arvalid)
            assert not context.get(dut.idle)
            await context.tick()
        context.set(axi.rvalid, 1)
        await context.tick()
        assert not context.get(dut.idle), "one of two beats has come"
        context.set(axi.rlast, 1)
        await context.tick()
        context.set(axi.rvalid, 0)
        assert context.get(dut.idle)

    simulate(dut, check, background=[window(dut)])
