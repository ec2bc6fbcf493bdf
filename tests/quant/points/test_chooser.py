"""Budgets become choices, and the line is measured where budgets need it."""

from __future__ import annotations

import numpy as np
import pytest

from golden.errors import UserError
from golden.pattern import MASKS
from quant.points.accuracy_line import AccuracyLine
from quant.points.alternatives import Choice, Granularity
from quant.points.chooser import Budget, Chooser
from quant.points.statistics import SIGMAS, SiteStatistics, Statistics
from quant.zap.predictor import Site


@pytest.fixture
def chooser() -> Chooser:
    """Return a chooser for one layer, whose error grows with the square of its saving."""
    grown = np.linspace(0.01, 1, len(SIGMAS))
    curves = {Site("conv", MASKS["B"]): SiteStatistics(grown[None] ** 2, grown[None] / 2)}
    return Chooser(Statistics({"first": 100, "conv": 300}, curves), [MASKS["B"]], Granularity.LAYER)


def test_a_loss_that_no_threshold_is_as_small_as_is_refused(chooser: Chooser) -> None:
    with pytest.raises(UserError, match=r"max-drop 1e-06 is out of reach: .* lose is 0\.0008 p"):
        chooser.choose(Budget("max-drop", 1e-6), AccuracyLine([0.1], [0.8]))


def test_the_line_is_measured_where_the_budgets_are(chooser: Chooser) -> None:
    probes: list[float] = []

    def drop_of(chosen: Choice) -> float:
        probes.append(chosen.error)
        return 8 * chosen.error**2

    budgets = [Budget("max-drop", 0.1), Budget("max-drop", 4)]
    line = chooser.measure_line(budgets, drop_of)
    assert len(probes) <= 5
    for budget in budgets:
        chosen = chooser.choose(budget, line)
        assert 8 * chosen.error**2 == pytest.approx(budget.value, rel=0.3)
        assert line.drop_at(chosen.error) == pytest.approx(budget.value, rel=0.05)
