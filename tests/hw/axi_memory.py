"""A memory behind an AXI4 port in Amaranth's simulator, with random pauses on every channel."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

__all__ = ["AxiMemory"]


class AxiMemory:
    """Answer bursts of beats of `beat` bytes in order.

    The memory begins at the bus address `base`; every other address here is an offset from it.
    Addresses in `errors` answer with an error. `reads` and `writes` hold (address, beats) of every
    burst so far. An assertion fails where a burst crosses 4 KiB, leaves the memory, or a beat is
    misplaced.
    """

    def __init__(self, axi: Any, data: bytes, beat: int, seed: int = 1, base: int = 0) -> None:
        self.axi = axi
        self.data = bytearray(data)
        self.errors: set[int] = set()
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []
        self._rng = random.Random(seed)
        self._bytes = beat
        self._base = base

    def _burst(self, context: Any, channel: str) -> tuple[int, int, int]:
        axi = self.axi
        burst, address, length, size, kind = (
            context.get(getattr(axi, f"{channel}{field}"))
            for field in ("id", "addr", "len", "size", "burst")
        )
        assert (1 << size, kind) == (self._bytes, 1)
        address -= self._base
        assert 0 <= address < len(self.data)
        assert address % self._bytes == 0
        assert address // 4096 == (address + (length + 1) * self._bytes - 1) // 4096
        return burst, address, length + 1

    def _pauses(self) -> Iterator[bool]:
        while True:
            share = self._rng.choice([0.0, 0.5, 0.9])
            yield from (self._rng.random() < share for _ in range(self._rng.randint(5, 60)))

    async def serve_reads(self, context: Any) -> None:
        """Answer reads for ever; run it as a background testbench."""
        axi = self.axi
        pause_ar, pause_r = self._pauses(), self._pauses()
        beats: deque[tuple[int, int, bool]] = deque()
        while True:
            offered = False
            if beats and not next(pause_r):
                burst, address, last = beats.popleft()
                word = self.data[address : address + self._bytes]
                context.set(axi.rid, burst)
                context.set(axi.rdata, int.from_bytes(word, "little"))
                context.set(axi.rresp, 2 if address in self.errors else 0)
                context.set(axi.rlast, last)
                offered = True
            context.set(axi.rvalid, offered)
            context.set(axi.arready, not next(pause_ar))
            if context.get(axi.arvalid) and context.get(axi.arready):
                burst, first, count = self._burst(context, "ar")
                self.reads.append((first, count))
                beats += [
                    (burst, first + number * self._bytes, number == count - 1)
                    for number in range(count)
                ]
            if offered:
                assert context.get(axi.rready), "the port reserves before it asks"
            await context.tick()

    async def serve_writes(self, context: Any) -> None:
        """Answer writes for ever; run it as a background testbench."""
        axi = self.axi
        pause_aw, pause_w, pause_b = self._pauses(), self._pauses(), self._pauses()
        bursts: deque[tuple[int, int]] = deque()
        done = 0
        answers: deque[bool] = deque()
        while True:
            answered = bool(answers) and not next(pause_b)
            context.set(axi.bvalid, answered)
            if answered:
                context.set(axi.bresp, 2 if answers.popleft() else 0)
            context.set(axi.awready, not next(pause_aw))
            context.set(axi.wready, bool(bursts) and not next(pause_w))
            if context.get(axi.wvalid) and context.get(axi.wready):
                address, count = bursts[0]
                at = address + done * self._bytes
                done += 1
                assert context.get(axi.wlast) == (done == count)
                assert context.get(axi.wstrb) == (1 << self._bytes) - 1
                word = context.get(axi.wdata).to_bytes(self._bytes, "little")
                self.data[at : at + self._bytes] = word
                if done == count:
                    answers.append(address in self.errors)
                    bursts.popleft()
                    done = 0
            if context.get(axi.awvalid) and context.get(axi.awready):
                _, address, count = self._burst(context, "aw")
                self.writes.append((address, count))
                bursts.append((address, count))
            await context.tick()
