"""Register copies: each user has its register, and synthesis does not merge them."""

from typing import Any

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.fpga.blocks import Ecp5
from hw.lib.register_copies import register_copies
from hw.verilog_output import emit
from tests.hw.amaranth_testbench import simulate


class Copied(wiring.Component):
    """A flag with copies for `users` users, `together` of whom share one."""

    flag: Signal
    seen: Signal

    def __init__(self, users: int, together: int) -> None:
        self._users, self._together = users, together
        super().__init__({"flag": In(1), "seen": Out(users)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.given = register_copies(m, platform, self.flag, self._users, self._together)
        m.d.comb += [seen.eq(copy) for seen, copy in zip(self.seen, self.given, strict=True)]
        return m


@pytest.mark.parametrize(("users", "together", "registers"), [(5, 1, 5), (16, 8, 2), (9, 8, 2)])
def test_each_user_sees_the_flag_a_cycle_later(users: int, together: int, registers: int) -> None:
    dut = Copied(users, together)

    async def check(context: Any) -> None:
        before = 0
        for flag in (1, 0, 0, 1, 1, 0, 1):
            context.set(dut.flag, flag)
            assert context.get(dut.seen) == before * ((1 << users) - 1)
            await context.tick()
            before = flag
        assert context.get(dut.seen) == before * ((1 << users) - 1)

    simulate(dut, check)
    assert len({id(copy) for copy in dut.given}) == registers


def test_on_an_ecp5_each_is_a_flip_flop_of_its_own() -> None:
    text = emit(Copied(16, 8), "copied", Ecp5())
    assert text.count("TRELLIS_FF #(") == 2
    assert "TRELLIS_FF" not in emit(Copied(16, 8), "copied")
