"""The core's watchdog sees every transfer on the bus, and nothing else, as a sign of life."""

from __future__ import annotations

from itertools import product
from typing import Any

from amaranth.hdl import Module, Signal

from hw.core.axi import Axi4Signature
from hw.core.core import _any_transfer
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY


def test_a_word_that_is_offered_and_not_taken_is_no_transfer() -> None:
    port: Any = Axi4Signature(TINY).create()
    m, moves, moved = Module(), Signal(), Signal()
    m.d.comb += moves.eq(_any_transfer(port))
    m.d.sync += moved.eq(moves)

    async def check(context: Any) -> None:
        channels = (
            *(port.read.rvalid, port.write.wvalid, port.write.wready, port.write.bvalid),
            *(port.read.arvalid, port.write.awvalid),
        )
        for values in product((0, 1), repeat=len(channels)):
            for signal, value in zip(channels, values, strict=True):
                context.set(signal, value)
            read, offered, taken, answered, *_ = values
            await context.tick()
            assert context.get(moved) == (read or (offered and taken) or answered)

    simulate(m, check)
