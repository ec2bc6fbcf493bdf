"""Cycles that a choice is predicted to save, whichever way it was chosen."""

from __future__ import annotations

import numpy as np
import pytest

from golden.costs import LayerCosts, NetworkCostsFile, ZapCosts
from golden.pattern import MASKS, Pattern
from quant.points.alternatives import Granularity
from quant.points.chooser import Chooser
from quant.points.cycle_savings import CycleSavings
from quant.points.knapsack import best_within_error
from quant.points.statistics import SIGMAS, SiteStatistics, Statistics
from quant.zap.predictor import Site

B = MASKS["B"]
FAST, SLOW = Site("fast", B), Site("slow", B)


@pytest.fixture
def statistics() -> Statistics:
    """Return those of two layers of two channels; one channel loses more than the other."""
    grown = np.linspace(0.01, 1, len(SIGMAS))
    curves = SiteStatistics(np.stack([grown**2, grown**3]) / 2, np.stack([grown, grown]) / 4)
    return Statistics({"first": 100, "fast": 300, "slow": 300}, {FAST: curves, SLOW: curves})


@pytest.fixture
def cycles() -> CycleSavings:
    """Return costs by which a ZAP in the layer `slow` never saves a cycle."""

    def layer(most: float, least: float) -> LayerCosts:
        return LayerCosts(cycles=1000, zaps={"B": ZapCosts(skipped=[0, 0.5], saved=[least, most])})

    layers = {"first": LayerCosts(cycles=500), "fast": layer(450, -50), "slow": layer(-5, -100)}
    return CycleSavings(
        NetworkCostsFile(version=1, network="net", config="small", latency=40, layers=layers)
    )


@pytest.mark.parametrize("error", [0.05, 0.2, 0.5])
def test_it_is_what_the_choice_was_made_by(
    statistics: Statistics, cycles: CycleSavings, error: float
) -> None:
    chooser = Chooser(statistics, [B], Granularity.CHANNEL, cycles)
    choice = best_within_error(chooser.layers, error)
    assert set(choice.layers) == {"fast"}
    assert choice.cycle_reduction is not None
    assert cycles.reduction(statistics, choice.layers) == pytest.approx(choice.cycle_reduction)


def test_by_macs_layers_are_chosen_that_cost_cycles(
    statistics: Statistics, cycles: CycleSavings
) -> None:
    choice = best_within_error(Chooser(statistics, [B], Granularity.CHANNEL).layers, 0.4)
    by_cycles = best_within_error(Chooser(statistics, [B], Granularity.CHANNEL, cycles).layers, 0.4)
    assert set(choice.layers) == {"fast", "slow"}
    assert by_cycles.cycle_reduction is not None
    assert cycles.reduction(statistics, choice.layers) < by_cycles.cycle_reduction


@pytest.mark.parametrize("granularity", Granularity)
def test_a_layer_that_gains_less_than_images_differ_runs_without_its_zap(
    statistics: Statistics, cycles: CycleSavings, granularity: Granularity
) -> None:
    little = LayerCosts(cycles=1000, zaps={"B": ZapCosts(skipped=[0, 0.5], saved=[-1, 55])})
    costs = cycles.costs.model_copy(update={"layers": {**cycles.costs.layers, "slow": little}})
    chooser = Chooser(statistics, [B], granularity, CycleSavings(costs))
    assert set(best_within_error(chooser.layers, 0.9).layers) == {"fast"}
    more = little.model_copy(update={"zaps": {"B": ZapCosts(skipped=[0, 0.5], saved=[-1, 90])}})
    costs = cycles.costs.model_copy(update={"layers": {**cycles.costs.layers, "slow": more}})
    chooser = Chooser(statistics, [B], granularity, CycleSavings(costs))
    assert set(best_within_error(chooser.layers, 0.9).layers) == {"fast", "slow"}


def test_a_layer_that_cannot_have_its_zap_saves_nothing(
    statistics: Statistics, cycles: CycleSavings
) -> None:
    assert cycles.reduction(statistics, {"fast": (Pattern(1, 1), 0.1)}) == 0
