"""The averager gives golden's average of each lane, in order."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import signed

from golden import arithmetic
from hw.engine.averager import AVERAGER_LATENCY, Averager
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

FIRST_PHASE = 3
PHASES = FIRST_PHASE + TINY.group + AVERAGER_LATENCY


@pytest.mark.parametrize("ofm_signed", [False, True], ids=["u8", "s8"])
def test_averages_equal_golden(ofm_signed: bool) -> None:
    draw = np.random.default_rng(1)
    shape = signed(16)
    dut = Averager(TINY, sums=shape, first_phase=FIRST_PHASE, phases=PHASES)
    limits = arithmetic.activation_range(ofm_signed)

    async def check(context: Any) -> None:
        context.set(dut.ofm_signed, ofm_signed)
        for multiplier, shift in ((1 << 15, 17), (43691, 18), ((1 << 16) - 1, 24), (1 << 15, 15)):
            context.set(dut.multiplier, multiplier)
            context.set(dut.shift, shift)
            sums = draw.integers(-(1 << 15), 1 << 15, TINY.group)
            sums[0] = limits[1]
            for lane, value in zip(dut.sums, sums.tolist(), strict=True):
                context.set(lane, value)
            for phase in range(PHASES):
                await context.tick()
                context.set(dut.phase, phase)
            wanted = [
                arithmetic.requantise(int(value), multiplier, shift, limits) & 0xFF
                for value in sums
            ]
            got = context.get(dut.averages).to_bytes(TINY.group, "little")
            assert list(got) == wanted, (multiplier, shift)

    simulate(dut, check)
