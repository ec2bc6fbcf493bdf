"""Choices from statistics, compared with trying every combination."""

from __future__ import annotations

import numpy as np
import pytest

from golden.errors import UserError
from golden.pattern import MASKS, Pattern
from quant.points import alternatives
from quant.points.alternatives import (
    Alternatives,
    Choice,
    Granularity,
    list_alternatives,
    uniform_choice,
)
from quant.points.knapsack import best_with_mac_reduction, best_within_error
from quant.points.statistics import SiteStatistics, Statistics
from quant.zap.predictor import Site

MACS = {"first": 50_000, "one": 100_000, "two": 40_000, "three": 210_000}
PATTERNS = [MASKS["B"], MASKS["D"]]
GRID = np.arange(15) / 10
CHANNELS = 3


@pytest.fixture(autouse=True)
def _short_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use so few thresholds that every combination can be tried."""
    monkeypatch.setattr(alternatives, "SIGMAS", GRID)


def random_statistics(seed: int) -> Statistics:
    """Make statistics that grow with the threshold and are random otherwise."""
    rng = np.random.default_rng(seed)
    curves = {
        Site(layer, pattern): SiteStatistics(
            np.sort(rng.random((CHANNELS, len(GRID)))) * rng.choice([0.02, 0.1]) / CHANNELS,
            np.sort(rng.random((CHANNELS, len(GRID)))) * (1 - pattern.alpha) / CHANNELS,
        )
        for layer in ("one", "two", "three")
        for pattern in PATTERNS
    }
    return Statistics(MACS, curves)


def combinations(every: list[Alternatives]) -> tuple[np.ndarray, np.ndarray]:
    """Return errors and savings of all ways to take one alternative from each list."""
    errors, savings = np.zeros(1), np.zeros(1)
    for options in every:
        errors = np.add.outer(errors, options.errors).ravel()
        savings = np.add.outer(savings, options.savings).ravel()
    return errors, savings


def has_the_figures_of_the_statistics(chosen: Choice, statistics: Statistics) -> bool:
    """Return whether a choice's figures are those of the layers that it names."""
    error = saving = 0.0
    for layer, (pattern, sigma) in chosen.layers.items():
        curve = statistics.sites[Site(layer, pattern)]
        k = np.broadcast_to(np.searchsorted(GRID, sigma), CHANNELS)
        error += curve.channel_error[range(CHANNELS), k].sum()
        saving += curve.channel_skipped[range(CHANNELS), k].sum() * MACS[layer] / 400_000
    return chosen.error == pytest.approx(error) and chosen.mac_reduction == pytest.approx(saving)


@pytest.mark.parametrize("thresholds", Granularity)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("error", [0.002, 0.01, 0.03, 0.1, 1.0])
def test_within_an_error_the_most_is_saved(
    seed: int, error: float, thresholds: Granularity
) -> None:
    statistics = random_statistics(seed)
    every = list_alternatives(statistics, PATTERNS, thresholds)
    errors, savings = combinations(every)
    best = savings[errors <= error].max()
    chosen = best_within_error(every, error)
    assert chosen.error <= error + 1e-9
    assert chosen.mac_reduction >= best - 1e-3
    assert has_the_figures_of_the_statistics(chosen, statistics)


@pytest.mark.parametrize("thresholds", Granularity)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("wanted", [0.02, 0.1, 0.2])
def test_a_reduction_is_reached_at_the_least_error(
    seed: int, wanted: float, thresholds: Granularity
) -> None:
    statistics = random_statistics(seed)
    every = list_alternatives(statistics, PATTERNS, thresholds)
    errors, savings = combinations(every)
    best = errors[savings >= wanted].min()
    chosen = best_with_mac_reduction(every, wanted)
    assert chosen.mac_reduction >= wanted - 1e-9
    assert chosen.error <= best * 1.001 + 1e-9
    assert has_the_figures_of_the_statistics(chosen, statistics)


def test_per_layer_is_never_worse_than_uniform() -> None:
    for seed in range(20):
        statistics = random_statistics(seed)
        layered, uniform = (
            list_alternatives(statistics, PATTERNS, thresholds)
            for thresholds in (Granularity.LAYER, Granularity.UNIFORM)
        )
        for error in (0.01, 0.05, 0.2):
            worse = best_within_error(uniform, error).mac_reduction
            assert best_within_error(layered, error).mac_reduction >= worse - 1e-3


def test_no_thresholds_of_channels_are_better_than_those_on_a_menu() -> None:
    statistics = random_statistics(4)
    curve = statistics.sites[Site("one", MASKS["B"])]
    errors, skipped = np.zeros(1), np.zeros(1)
    for channel in range(CHANNELS):
        errors = np.add.outer(errors, curve.channel_error[channel]).ravel()
        skipped = np.add.outer(skipped, curve.channel_skipped[channel]).ravel()
    options, *_ = list_alternatives(statistics, PATTERNS[:1], Granularity.CHANNEL)
    assert len(options.errors) > 5
    for error, saving in zip(options.errors[1:], options.savings[1:]):
        best = skipped[errors <= error + 1e-12].max() * MACS["one"] / 400_000
        assert saving == pytest.approx(best)


def test_uniform_is_one_pattern_and_one_threshold() -> None:
    chosen = best_within_error(
        list_alternatives(random_statistics(1), PATTERNS, Granularity.UNIFORM), 0.1
    )
    assert chosen.layers.keys() == {"one", "two", "three"}
    assert len(set(chosen.layers.values())) == 1


def test_only_the_patterns_named_are_chosen_from() -> None:
    chosen = best_within_error(
        list_alternatives(random_statistics(1), PATTERNS[:1], Granularity.LAYER), 1.0
    )
    assert {pattern for pattern, _ in chosen.layers.values()} == {MASKS["B"]}


def test_what_costs_nothing_is_taken_and_nothing_else_where_the_budget_is_nothing() -> None:
    curves = {
        Site("one", MASKS["B"]): SiteStatistics(
            np.maximum(GRID - 0.1, 0)[None], (1 + GRID[None] * 10) / 100
        ),
        Site("two", MASKS["B"]): SiteStatistics(0.1 + GRID[None], np.full((1, len(GRID)), 0.5)),
    }
    chosen = best_within_error(
        list_alternatives(Statistics(MACS, curves), PATTERNS, Granularity.LAYER), 0
    )
    assert chosen.layers == {"one": (MASKS["B"], 0.1)}
    assert chosen.error == 0
    assert chosen.mac_reduction == pytest.approx(0.02 * 0.25)


def test_what_is_out_of_reach_is_refused_with_the_best_there_is() -> None:
    statistics = random_statistics(3)
    best = max(combinations(list_alternatives(statistics, PATTERNS, Granularity.LAYER))[1])
    with pytest.raises(UserError, match=f"0.9 is out of reach: .* reach is {best:.4f}"):
        best_with_mac_reduction(list_alternatives(statistics, PATTERNS, Granularity.LAYER), 0.9)


def test_a_threshold_between_those_of_the_statistics_is_interpolated() -> None:
    statistics = random_statistics(2)
    low, middle, high = (
        uniform_choice(statistics, MASKS["D"], sigma) for sigma in (0.1, 0.15, 0.2)
    )
    assert middle.layers["two"] == (MASKS["D"], 0.15)
    assert middle.error == pytest.approx((low.error + high.error) / 2)
    assert middle.mac_reduction == pytest.approx((low.mac_reduction + high.mac_reduction) / 2)
    assert uniform_choice(statistics, Pattern.parse("4:0100"), 0.1) == Choice({}, 0, 0)
