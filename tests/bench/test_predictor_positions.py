"""What a wider predictor brings: the table counts what the cycle model counts."""

from __future__ import annotations

import pytest

from bench.predictor_positions import rows_of, widened
from compiler.costs import NetworkCosts
from golden.bundle import Bundle
from golden.pattern import MASKS
from hw.contract.config import PRESETS
from quant.pipeline.shaped_network import shaped_network


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return shaped_network("digits", (1, 16, 16), None)


def test_a_wider_predictor_has_no_tables_and_is_else_the_same() -> None:
    preset = PRESETS["narrow"]
    assert widened(preset, 1) == preset
    wide = widened(preset, 2)
    assert (wide.predictor_positions, wide.predictor_tables) == (2, 0)
    assert wide.predictor_dsps == preset.predictor_dsps


def test_rows_have_the_cycles_of_the_model_and_layers_that_gain(bundle: Bundle) -> None:
    config = PRESETS["narrow"]
    for row in rows_of("digits", bundle, "narrow", config):
        costs = NetworkCosts(bundle, config)
        skips = costs.saving(MASKS["B"], row.share)
        assert row.layers == len(skips)
        assert row.cycles_off == round(sum(part.elapsed for part in costs.cycles().values()))
        assert row.cycles_on == round(sum(part.elapsed for part in costs.cycles(skips).values()))
        assert 0 <= row.macs_skipped <= row.share + 1e-4
        assert row.efficiency == pytest.approx(row.speed_up * (1 - row.macs_skipped))


def test_two_positions_a_cycle_are_no_slower_than_one(bundle: Bundle) -> None:
    config = PRESETS["narrow"]
    one, two = (list(rows_of("digits", bundle, "narrow", widened(config, n))) for n in (1, 2))
    for narrow, wide in zip(one, two, strict=True):
        assert wide.cycles_on <= narrow.cycles_on
        assert wide.layers >= narrow.layers
