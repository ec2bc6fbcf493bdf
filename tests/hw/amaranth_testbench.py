"""Testbenches for Amaranth's own simulator: running them, and sending and receiving on streams.

A testbench is an async function that takes the simulator's context, as `amaranth.sim.Simulator`
expects.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import numpy as np
from amaranth.hdl import ClockDomain, Elaboratable, Module, ResetSignal, Signal
from amaranth.sim import Simulator

__all__ = ["Resettable", "Testbench", "get", "pauses", "put", "simulate", "to_words"]

Testbench = Callable[[Any], Coroutine[Any, Any, None]]


class Resettable(Elaboratable):
    """A component whose reset is a signal that a testbench drives."""

    def __init__(self, component: Elaboratable) -> None:
        self._component: Any = component  # the stubs want a type of theirs
        self.reset = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.d.comb += ResetSignal().eq(self.reset)
        m.submodules.component = self._component
        return m


def simulate(
    design: Elaboratable,
    *testbenches: Testbench,
    background: Iterable[Testbench] = (),
    deadline: int = 50_000,
) -> None:
    """Run testbenches until all have returned; fail if that takes more than `deadline` cycles.

    Background testbenches run for as long as the others do.
    """

    simulator = Simulator(design)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in background:
        simulator.add_testbench(testbench, background=True)
    for _ in range(2 * deadline):  # two clock edges a cycle
        if not simulator.advance():
            return
    raise AssertionError(f"not done after {deadline} cycles")


def pauses(seed: int) -> Iterator[bool]:
    """Yield for ever whether to pause for a cycle; there are long runs of both answers."""
    rng = random.Random(seed)
    while True:
        share = rng.choice([0.0, 0.5, 0.95])
        yield from (rng.random() < share for _ in range(rng.randint(5, 60)))


async def put(context: Any, port: Any, payloads: Iterable[Any], pause: Iterator[bool]) -> None:
    """Send payloads into a stream, with pauses between them."""
    for payload in payloads:
        while next(pause):
            await context.tick()
        context.set(port.payload, payload)
        context.set(port.valid, 1)
        await context.tick().until(port.ready)
        context.set(port.valid, 0)


async def get(context: Any, port: Any, count: int, pause: Iterator[bool]) -> list[Any]:
    """Take `count` payloads from a stream, with pauses between them."""
    taken: list[Any] = []
    while len(taken) < count:
        context.set(port.ready, not next(pause))
        _, _, transfer, payload = await context.tick().sample(port.valid & port.ready, port.payload)
        if transfer:
            taken.append(payload)
    context.set(port.ready, 0)
    return taken


def to_words(rows: np.ndarray) -> list[int]:
    """Pack bytes (words, n) into one number for each word, the first byte lowest."""
    return [int.from_bytes(row.tobytes(), "little") for row in rows.astype(np.uint8)]
