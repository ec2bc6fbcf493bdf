"""The predictor after a reset; `tb/benches/predictor.py` compares it with golden."""

from dataclasses import replace
from typing import Any

import pytest

from golden.pattern import MASKS
from hw.predictor.predictor import Predictor
from tests.hw.amaranth_testbench import Resettable, simulate
from tests.hw.small_configs import TINY

HEIGHT, WIDTH = 6, 5
PATTERN = MASKS["B"]


@pytest.mark.parametrize("tables", [0, 6])
@pytest.mark.parametrize("cut", [5, 9, 20, 40])
def test_a_channel_cut_off_by_reset_is_forgotten(cut: int, tables: int) -> None:
    """A channel of zeros scores zero everywhere, whatever the line buffers still hold."""
    dut = Predictor(replace(TINY, predictor_tables=tables))
    design = Resettable(dut)
    predicted = int((~PATTERN.mask(HEIGHT, WIDTH)).sum())

    async def check(context: Any) -> None:
        for name, value in {
            "height": HEIGHT,
            "width": WIDTH,
            "scored_end": HEIGHT,
            "period": PATTERN.period,
            "pattern": PATTERN.repeated(),
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
