"""The predictor after a reset, and where its survivors lie.

`tb/benches/predictor.py` compares what it decides with golden.
"""

from dataclasses import replace
from itertools import repeat
from typing import Any

import pytest

from golden.pattern import MASKS
from hw.contract.program import residues_word
from hw.predictor.predictor import Predictor
from tests.hw.amaranth_testbench import Resettable, get, simulate
from tests.hw.small_configs import TINY

HEIGHT, WIDTH = 6, 5
PATTERN = MASKS["B"]


@pytest.mark.parametrize(("positions", "tables"), [(1, 0), (1, 6), (2, 0), (4, 0)])
@pytest.mark.parametrize("cut", [5, 9, 20, 40])
def test_a_channel_cut_off_by_reset_is_forgotten(cut: int, positions: int, tables: int) -> None:
    """A channel of zeros scores zero everywhere, whatever the line buffers still hold."""
    dut = Predictor(replace(TINY, predictor_positions=positions, predictor_tables=tables))
    design = Resettable(dut)
    predicted = int((~PATTERN.mask(HEIGHT, WIDTH)).sum())

    async def check(context: Any) -> None:
        for name, value in {
            "height": HEIGHT,
            "width": WIDTH,
            "scored_end": HEIGHT,
            "period": PATTERN.period,
            "pattern": PATTERN.repeated(),
            "residues": residues_word(0, PATTERN.residue(1, 0)),
        }.items():
            context.set(dut.layer[name], value)
        weights = [1] * 9
        record = {"weight1": weights, "offset1": 0, "shift1": 0, "weight2": weights, "threshold": 0}
        context.set(dut.records.payload, record)
        context.set(dut.records.valid, 1)
        context.set(dut.values.valid, 1)
        context.set(dut.survivors.ready, 1)

        context.set(dut.values.payload, 255)
        await context.tick().repeat(cut)
        context.set(design.reset, 1)
        await context.tick()
        context.set(design.reset, 0)

        context.set(dut.values.payload, 0)
        skipped = 0
        end = False
        while not end:
            _, _, kept, skips, end = await context.tick().sample(
                dut.kept, dut.skipped, dut.survivors.valid & dut.survivors.payload.end
            )
            assert not kept
            skipped += skips
        assert skipped == predicted

    simulate(design, check)


@pytest.mark.parametrize("positions", [1, 2, 4])
def test_survivors_of_later_slices_lie_further_on_in_the_ifm_buffer(positions: int) -> None:
    """Two channels read a slice; with no weights, every score is 0, and so above the threshold."""
    dut = Predictor(replace(TINY, predictor_positions=positions))
    base, row_step, col_step, slice_step, channels = 500, 13, 2, 29, 5
    decided = [
        tuple(place) for place in zip(*(~PATTERN.mask(HEIGHT, WIDTH)).nonzero(), strict=True)
    ]

    async def check(context: Any) -> None:
        for name, value in {
            "height": HEIGHT,
            "width": WIDTH,
            "scored_end": HEIGHT,
            "period": PATTERN.period,
            "pattern": PATTERN.repeated(),
            "residues": residues_word(0, PATTERN.residue(1, 0)),
            "base": base,
            "row_step": row_step,
            "col_step": col_step,
            "slice_channels": 2,
            "slice_step": slice_step,
        }.items():
            context.set(dut.layer[name], value)
        zeros = [0] * 9
        record = {"weight1": zeros, "offset1": 0, "shift1": 0, "weight2": zeros, "threshold": -1}
        context.set(dut.start, 1)
        await context.tick()
        context.set(dut.start, 0)
        await context.tick()
        context.set(dut.records.payload, record)
        context.set(dut.records.valid, 1)
        context.set(dut.values.valid, 1)
        for channel in range(channels):
            first = base + channel // 2 * slice_step
            survivors = await get(context, dut.survivors, len(decided) + 1, repeat(False))
            assert survivors.pop().end
            assert [(s.pixel.index, s.pixel.base) for s in survivors] == [
                (
                    row * WIDTH + col,
                    (first + row * row_step + col * col_step) % TINY.ifm_words,
                )
                for row, col in decided
            ]

    simulate(dut, check)
