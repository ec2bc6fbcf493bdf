"""The window's check: what is taken when a program starts, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hw.core.window import WindowCheck
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

PAGE = 4096
CASES = [
    (32, 0, PAGE, 0, False),
    (32, 0x1234_5000, 0x10_0000, 32, False),
    (32, (1 << 32) - PAGE, PAGE, 0, False),
    (32, (1 << 32) - PAGE, 2 * PAGE, 0, True),
    (32, 1 << 31, (1 << 32) - PAGE, 0, True),
    (32, 1 << 32, PAGE, 0, True),
    (32, 0x800, PAGE, 0, True),
    (32, PAGE, PAGE + 8, 0, True),
    (32, PAGE, PAGE, 16, True),
    (40, 1 << 32, PAGE, 0, False),
    (40, (1 << 40) - PAGE, PAGE, 0, False),
    (40, (1 << 40) - PAGE, 2 * PAGE, 0, True),
    (40, 1 << 40, PAGE, 0, True),
    (64, (1 << 64) - PAGE, PAGE, 0, False),
    (64, (1 << 64) - PAGE, 2 * PAGE, 0, True),
]
"""Width of addresses, base, size, program, and whether they are refused."""


@pytest.mark.parametrize("bits", [32, 40, 64])
def test_a_window_that_is_misaligned_or_beyond_the_bus_is_refused(bits: int) -> None:
    dut = WindowCheck(replace(TINY, address_bits=bits))

    async def testbench(context: Any) -> None:
        for width, base, size, program, refused in CASES:
            if width != bits:
                continue
            context.set(dut.base, base)
            context.set(dut.size, size)
            context.set(dut.program, program)
            context.set(dut.start, 1)
            await context.tick()
            context.set(dut.start, 0)
            for signal in (dut.base, dut.size, dut.program):
                context.set(signal, 1)  # the registers change while the program runs
            assert not context.get(dut.refused)
            await context.tick().repeat(3)
            for _ in range(3):
                assert context.get(dut.refused) == refused, (hex(base), hex(size), program)
                await context.tick()
            if not refused:
                assert context.get(dut.window.page) == base // PAGE
                assert context.get(dut.window.pages) == size // PAGE

    simulate(dut, testbench)
