"""Drives and drains Amaranth streams from a cocotb bench.

Amaranth's emitted Verilog spells a stream port ``name`` as ``name__payload``, ``name__valid`` and
``name__ready``. A beat is transferred at each rising clock edge at which valid and ready are high;
valid, once high, stays high with the same payload until then.

Each end is one coroutine that wakes once per clock edge, and not at all while there is nothing to
send or nothing arrives: a Python wake-up costs some microseconds, more than most designs' cycle.
Both ends wait for the end of reset, so create them before `tb.benches.common.start`.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cocotb
from cocotb.triggers import Event, RisingEdge

__all__ = ["StreamSink", "StreamSource", "random_pause"]

# Cycles for which an end polls the other's valid or ready before it sleeps until that rises:
# polling is cheaper while beats follow each other, sleeping is cheaper in between.
PATIENCE = 4


def random_pause(probability: float, seed: int, *, longest: int = 1) -> Iterator[bool]:
    """Yield one decision per cycle for ever: True is a pause.

    A cycle is a pause with this probability. With `longest` above 1 each decision holds for 1 to
    `longest` cycles, which fills and empties the FIFOs of a design; single cycles do not.
    """
    rng = random.Random(seed)
    while True:
        pause = rng.random() < probability
        for _ in range(rng.randint(1, longest) if longest > 1 else 1):
            yield pause


class StreamSource:
    """Sends integers into the stream input `name` of `dut`.

    Parameters
    ----------
    dut : cocotb handle
        Has ``clk`` and ``rst`` beside the stream.
    name : str
        Port name, less ``__payload``.
    pause : iterator of bool, optional
        Asked before each beat until it yields False; each True is a cycle with valid low. Without
        it the source never pauses.

    Members
    -------
    accepted : int
        Beats transferred since the beginning.
    """

    def __init__(self, dut: Any, name: str, *, pause: Iterator[bool] | None = None) -> None:
        self._clock, self._reset = dut.clk, dut.rst
        self._payload = getattr(dut, f"{name}__payload")
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._width = len(self._payload)
        self._pause = pause
        self._queue: deque[int] = deque()
        self._filled = Event()
        self._empty = Event()
        self.accepted = 0
        self._valid.value = 0
        self._payload.value = 0
        cocotb.start_soon(self._run())

    def send(self, payloads: Iterable[int]) -> None:
        """Queue `payloads`; negative ones are taken modulo 2 to the width. Returns at once."""
        mask = (1 << self._width) - 1
        self._queue.extend(value & mask for value in payloads)
        if self._queue:
            self._empty.clear()
            self._filled.set()

    async def drained(self) -> None:
        """Wait until every beat that was queued has been accepted."""
        if self._queue or self._filled.is_set():
            await self._empty.wait()

    async def _run(self) -> None:
        edge = RisingEdge(self._clock)
        await _out_of_reset(edge, self._reset)
        queue, pause = self._queue, self._pause
        valid, ready_bits = self._valid, _reader(self._ready)
        rising_ready = RisingEdge(self._ready)
        write = _writer(self._payload)
        high = False
        while True:
            if not queue:
                if high:
                    valid.value = 0
                    high = False
                self._filled.clear()
                self._empty.set()
                await self._filled.wait()
            if pause is not None and next(pause):
                if high:
                    valid.value = 0
                    high = False
                await edge
                while next(pause):
                    await edge
            write(queue[0])
            if not high:
                valid.value = 1
                high = True
            await edge
            waited = 0
            while ready_bits() != "1":
                waited += 1
                if waited > PATIENCE:
                    await rising_ready
                await edge
            queue.popleft()
            self.accepted += 1


class StreamSink:
    """Takes integers from the stream output `name` of `dut`.

    Parameters
    ----------
    dut : cocotb handle
        Has ``clk`` and ``rst`` beside the stream.
    name : str
        Port name, less ``__payload``.
    pause : iterator of bool, optional
        Asked in each cycle, whether there is a beat or not: True is a cycle with ready low. It is
        not asked after some cycles in which nothing arrived. Without it the sink is always ready.

    Members
    -------
    received : list of int
        Payloads in order, unsigned, since the beginning or since :meth:`take` took them.
    """

    def __init__(self, dut: Any, name: str, *, pause: Iterator[bool] | None = None) -> None:
        self._clock, self._reset = dut.clk, dut.rst
        self._payload = getattr(dut, f"{name}__payload")
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._pause = pause
        self._wanted = 0
        self._arrived = Event()
        self.received: list[int] = []
        self._ready.value = 0
        cocotb.start_soon(self._run())

    async def take(self, count: int) -> list[int]:
        """Wait until `count` beats are there, and take the first `count` out of `received`."""
        if len(self.received) < count:
            self._wanted = count
            self._arrived.clear()
            await self._arrived.wait()
        taken, self.received[:count] = self.received[:count], []
        return taken

    async def _run(self) -> None:
        edge = RisingEdge(self._clock)
        await _out_of_reset(edge, self._reset)
        pause = self._pause
        ready, valid_bits, payload_bits = self._ready, _reader(self._valid), _reader(self._payload)
        rising_valid = RisingEdge(self._valid)
        high = False
        idle = 0
        while True:
            want = pause is None or not next(pause)
            if want != high:
                ready.value = high = want
            await edge
            if valid_bits() == "1":
                idle = 0
                if high:
                    self.received.append(int(payload_bits(), 2))
                    if len(self.received) == self._wanted:
                        self._arrived.set()
            else:
                idle += 1
                if idle > PATIENCE:
                    await rising_valid


def _reader(signal: Any) -> Callable[[], str]:
    """Return a function that reads `signal` as a text of 0, 1, X and Z.

    cocotb's ``value`` makes an object of that text first, which takes ten times as long, and there
    is no public way to avoid it.
    """
    return signal._handle.get_signal_val_binstr


def _writer(payload: Any) -> Callable[[int], None]:
    """Return a function that drives `payload` with an unsigned integer, even if it is signed."""
    width = len(payload)
    if width <= 32 and width > 1 and payload.is_signed:
        half, span = 1 << (width - 1), 1 << width
        return lambda value: payload.set(value - span if value >= half else value)
    if width <= 32:
        return payload.set
    return lambda value: payload.set(f"{value:0{width}b}")


async def _out_of_reset(edge: RisingEdge, reset: Any) -> None:
    """Wait for the first clock edge at which `reset` is low; an undriven reset counts as high."""
    await edge
    while reset.value != 0:
        await edge
