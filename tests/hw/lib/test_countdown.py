"""A countdown marks the last step of every round, and no other."""

from typing import Any

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.lib.countdown import Countdown
from tests.hw.amaranth_testbench import simulate


class Walk(wiring.Component):
    """A component that is a countdown and nothing else."""

    steps: Signal
    begin: Signal
    advance: Signal
    last: Signal

    def __init__(self) -> None:
        super().__init__({"steps": In(3), "begin": In(1), "advance": In(1), "last": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = Countdown(self.steps)
        with m.If(self.advance):
            m.d.sync += steps.advance()
        with m.If(self.begin):
            m.d.sync += steps.begin()
        m.d.comb += self.last.eq(steps.last)
        return m


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_rounds_follow_one_another_and_begin_anew_when_told(steps: int) -> None:
    dut = Walk()

    async def check(context: Any) -> None:
        context.set(dut.steps, steps)
        for taken in (3 * steps, steps // 2, steps):
            context.set(dut.begin, 1)
            context.set(dut.advance, 1)
            await context.tick()
            context.set(dut.begin, 0)
            for step in range(taken):
                for moves in (0, 1):
                    context.set(dut.advance, moves)
                    assert context.get(dut.last) == (step % steps == steps - 1)
                    await context.tick()

    simulate(dut, check)
