"""The predictor's convolution with every kind of multiplier, and the shift that follows it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth import Cat, Module, Signal

from golden import arithmetic
from hw.contract.timing import predictor_steps
from hw.predictor.depthwise import LATENCY, Depthwise, line_words
from hw.predictor.predictor import shift_within
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

HEIGHT = 5


@pytest.mark.parametrize(
    ("positions", "width", "dsps", "tables"),
    [
        *[(1, 4, dsps, tables) for dsps in (0, 2, 6) for tables in (0, 1, 3)],
        *[(positions, width, 10, 0) for positions in (2, 4) for width in (1, 2, 3, 4, 5, 7, 8)],
        (2, TINY.row_pixels, 18, 0),
        (4, TINY.row_pixels, 0, 0),
    ],
)
def test_sums_are_exact_whatever_their_products_come_from(
    positions: int, width: int, dsps: int, tables: int
) -> None:
    """Weights and values at both limits; each sum comes with its position's mark."""
    draw = np.random.default_rng(dsps + tables)
    config = replace(TINY, predictor_positions=positions, predictor_dsps=0)
    dut = Depthwise(config, words=line_words(config)[0], dsps=dsps, tables=tables)
    words = predictor_steps(config, width)

    async def check(context: Any) -> None:
        for number in range(20):
            most = 255 if number % 2 else 1
            values = draw.integers(0, most, (HEIGHT, width), endpoint=True) * (255 // most)
            weights = draw.integers(*arithmetic.S8, 9, endpoint=True)
            if number % 3 == 0:
                weights = np.where(weights < 0, *arithmetic.S8)
            marks = draw.integers(0, 2, (HEIGHT, width))
            got = await convolved(context, values, marks, weights)
            padded = np.pad(values, 1)
            kernel = weights.reshape(3, 3)
            for row, col in np.ndindex(HEIGHT, width):
                wanted = int((padded[row : row + 3, col : col + 3] * kernel).sum())
                assert got[row, col] == (wanted, int(marks[row, col])), (row, col)

    async def convolved(
        context: Any, values: np.ndarray, marks: np.ndarray, weights: np.ndarray
    ) -> dict[tuple[int, int], tuple[int, int]]:
        """Sum and mark of each position, from a walk with pauses."""
        context.set(dut.weights, weights.tolist())
        centres: list[tuple[int, int] | None] = [None] * LATENCY
        got = {}
        steps = [(row, word) for row in range(HEIGHT + 1) for word in range(words)]
        for step in [*steps, *[None] * LATENCY]:
            while draw.random() < 0.2:  # nothing moves
                context.set(dut.enable, 0)
                await context.tick()
            context.set(dut.enable, 1)
            context.set(dut.valid, step is not None)
            if step is not None:
                row, word = step
                context.set(dut.word, word)
                context.set(dut.above_in_map, row > 0)
                context.set(dut.cols_in_map, bits(word * positions + np.arange(positions) < width))
                shown = slice(word * positions, (word + 1) * positions)
                padded = [np.pad(rows, ((0, 1), (0, 3 * positions))) for rows in (values, marks)]
                context.set(dut.marks, bits(padded[1][row, shown]))
                for port, value in zip(dut.values, padded[0][row, shown], strict=True):
                    context.set(port, int(value))
            centre = centres.pop(0)
            centres.append(None if step is None else (step[0] - 1, positions * step[1] - 1))
            if centre is not None:
                for place, found in enumerate(dut.sums):
                    mark = context.get(dut.sum_marks) >> place & 1
                    got[centre[0], centre[1] + place] = (context.get(found), mark)
            await context.tick()
        return got

    simulate(dut, check)


def bits(flags: np.ndarray) -> int:
    """Pack flags into a number, the first lowest."""
    return sum(1 << place for place, flag in enumerate(flags) if flag)


def test_a_shift_says_when_it_leaves_more_than_its_bits() -> None:
    most = arithmetic.PREDICTOR_SHIFT_MAX
    bits = arithmetic.HIDDEN_BITS
    m = Module()
    value, shift = Signal(arithmetic.BIAS1_BITS + 1), Signal(range(most + 1))
    got = Signal(bits + 1)
    low, over = shift_within(m, value, shift, bits)
    assert len(low) == bits
    m.d.sync += got.eq(Cat(low, over))

    async def check(context: Any) -> None:
        for by in range(most + 1):
            full = 1 << bits + by
            near = [0, 1, full - 1, full, full + 1, (1 << len(value)) - 1]
            for number in (n for n in near if n < 1 << len(value)):
                context.set(value, number)
                context.set(shift, by)
                await context.tick()
                result = context.get(got)
                if number < full:
                    assert result == number >> by, (number, by)
                else:
                    assert result >> bits, (number, by)

    simulate(m, check)
