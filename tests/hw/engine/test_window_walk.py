"""The window walk visits every tap of every window in order, and then the spilled pixels."""

import random
from dataclasses import dataclass
from typing import Any

import pytest

from hw.engine.window_walk import WindowWalk
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

AVERAGE_CYCLES = 7
HEIGHT, WIDTH = 6, 5


@dataclass(frozen=True)
class Pooling:
    """A pooling of the rows from `top` on, as a descriptor has it."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    size: tuple[int, int]
    top: int = 0
    left: int = 0
    average: bool = False
    spilled_rows: int = 0

    @property
    def fields(self) -> dict[str, Any]:
        names = ("height", "width"), ("kernel_height", "kernel_width")
        sides = (*names, ("stride_height", "stride_width"))
        values = (self.size, self.kernel, self.stride)
        return {
            "height": HEIGHT,
            "width": WIDTH,
            "pixels": HEIGHT * WIDTH,
            "spilled": self.spilled_rows * WIDTH,
            "pool": {
                **{n: v for ns, vs in zip(sides, values) for n, v in zip(ns, vs)},
                "pooled": 1,
                "average": int(self.average),
                "top": self.top,
                "left": self.left,
                "first_line": self.top * WIDTH % TINY.ofm_words,
                "line_step": self.stride[0] * WIDTH,
            },
        }

    @property
    def taps(self) -> list[tuple[int | None, bool, bool]]:
        """(index, or None outside the map; whether it is its window's first; its last)."""
        taps = []
        for window in range(self.size[0] * self.size[1]):
            row, col = divmod(window, self.size[1])
            for tap in range(self.kernel[0] * self.kernel[1]):
                tap_row, tap_col = divmod(tap, self.kernel[1])
                at_row = self.top + row * self.stride[0] + tap_row
                at_col = self.left + col * self.stride[1] + tap_col
                inside = 0 <= at_row < HEIGHT and 0 <= at_col < WIDTH
                last = tap == self.kernel[0] * self.kernel[1] - 1
                taps.append((at_row * WIDTH + at_col if inside else None, tap == 0, last))
        first_spilled = (HEIGHT - self.spilled_rows) * WIDTH
        return taps + [(index, True, True) for index in range(first_spilled, HEIGHT * WIDTH)]


@pytest.mark.parametrize(
    "pooling",
    [
        Pooling((1, 1), (1, 1), (HEIGHT, WIDTH)),
        Pooling((2, 2), (2, 2), (2, 2), top=1, spilled_rows=2),
        Pooling((3, 3), (2, 1), (3, 5), top=-1, left=-1),
        Pooling((3, 3), (2, 2), (4, 3), top=-1, left=-1),  # past the last row and column too
        Pooling((2, 3), (2, 2), (3, 2), average=True, spilled_rows=1),
        Pooling((HEIGHT, WIDTH), (1, 1), (1, 1), average=True),
    ],
    ids=str,
)
def test_taps_come_in_order(pooling: Pooling) -> None:
    dut = WindowWalk(TINY, average_cycles=AVERAGE_CYCLES)
    rng = random.Random(1)
    averages = 0

    async def check(context: Any) -> None:
        nonlocal averages
        context.set(dut.layer, pooling.fields)
        for _ in range(2):  # two banks
            assert context.get(dut.resting)
            context.set(dut.go, 1)
            await context.tick()
            context.set(dut.go, 0)
            taps = []
            averages = 0
            while not context.get(dut.done):
                context.set(dut.ready, rng.random() < 0.7)
                if context.get(dut.tap):
                    inside = context.get(dut.inside)
                    index = context.get(dut.address) if inside else None
                    taps.append((index, bool(context.get(dut.first)), bool(context.get(dut.last))))
                averages += context.get(dut.averaged)
                await context.tick()
            assert taps == pooling.taps
            assert averages == pooling.average * pooling.size[0] * pooling.size[1]
            await context.tick()

    simulate(dut, check)
