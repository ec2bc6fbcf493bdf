"""A memory behind an AXI4 port that answers in any order that AXI allows, and pauses at random."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from tests.hw.amaranth_testbench import pauses

__all__ = ["ShufflingMemory"]


class ShufflingMemory:
    """Responses of one ID come in order; those of different IDs in any, with beats interleaved.

    `granted` holds the channel and the ID of every burst, in order. Addresses in `errors` answer
    with an error. An assertion fails where a burst crosses 4 KiB or leaves the memory, a write's
    last beat is misplaced, or the manager does not take a response at once.
    """

    def __init__(self, axi: Any, data: bytes, beat: int, seed: int) -> None:
        self.axi = axi
        self.data = bytearray(data)
        self.errors: set[int] = set()
        self.granted: list[tuple[str, int]] = []
        self._bytes = beat
        self._rng = random.Random(seed)
        self._seed = seed

    def _burst(self, context: Any, axi: Any, channel: str) -> tuple[int, int, int]:
        burst, address, length, size, kind = (
            context.get(getattr(axi, f"{channel}{field}"))
            for field in ("id", "addr", "len", "size", "burst")
        )
        assert (1 << size, kind) == (self._bytes, 1)
        assert address % self._bytes == 0
        last = address + length * self._bytes
        assert last < len(self.data)
        assert address // 4096 == last // 4096
        self.granted.append((channel, burst))
        return burst, address, length + 1

    def _pauses(self, number: int) -> Iterator[bool]:
        return pauses(8 * self._seed + number)

    async def serve_reads(self, context: Any) -> None:
        """Answer reads for ever; run it as a background testbench."""
        axi = self.axi.read
        pause_ar, pause_r = self._pauses(0), self._pauses(1)
        waiting: dict[int, deque[tuple[int, bool]]] = defaultdict(deque)
        while True:
            offered = False
            if (busy := [burst for burst, beats in waiting.items() if beats]) and not next(pause_r):
                burst = self._rng.choice(busy)
                address, last = waiting[burst].popleft()
                word = self.data[address : address + self._bytes]
                context.set(axi.rid, burst)
                context.set(axi.rdata, int.from_bytes(word, "little"))
                context.set(axi.rresp, 2 if address in self.errors else 0)
                context.set(axi.rlast, last)
                offered = True
            context.set(axi.rvalid, offered)
            context.set(axi.arready, not next(pause_ar))
            if context.get(axi.arvalid) and context.get(axi.arready):
                burst, first, count = self._burst(context, axi, "ar")
                waiting[burst] += [
                    (first + number * self._bytes, number == count - 1) for number in range(count)
                ]
            assert not offered or context.get(axi.rready)
            await context.tick()

    async def serve_writes(self, context: Any) -> None:
        """Answer writes for ever; run it as a background testbench."""
        axi = self.axi.write
        pause_aw, pause_w, pause_b = (self._pauses(number) for number in (2, 3, 4))
        bursts: deque[tuple[int, int, int]] = deque()
        done = 0
        answers: list[tuple[int, bool]] = []
        while True:
            answered = bool(answers) and not next(pause_b)
            context.set(axi.bvalid, answered)
            if answered:
                ids = [burst for burst, _ in answers]
                burst, failed = answers.pop(ids.index(self._rng.choice(ids)))
                context.set(axi.bid, burst)
                context.set(axi.bresp, 2 if failed else 0)
            context.set(axi.awready, not next(pause_aw))
            context.set(axi.wready, bool(bursts) and not next(pause_w))
            assert not done or context.get(axi.wvalid), "a burst's beats follow at once"
            if context.get(axi.wvalid) and context.get(axi.wready):
                burst, address, count = bursts[0]
                at = address + done * self._bytes
                done += 1
                assert context.get(axi.wlast) == (done == count)
                word = context.get(axi.wdata).to_bytes(self._bytes, "little")
                strobes = context.get(axi.wstrb)
                for lane in range(self._bytes):
                    if strobes >> lane & 1:
                        self.data[at + lane] = word[lane]
                if done == count:
                    answers.append((burst, address in self.errors))
                    bursts.popleft()
                    done = 0
            if context.get(axi.awvalid) and context.get(axi.awready):
                bursts.append(self._burst(context, axi, "aw"))
            assert not answered or context.get(axi.bready)
            await context.tick()
