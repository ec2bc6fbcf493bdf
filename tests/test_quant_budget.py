"""Choosing thresholds and patterns from statistics: against trying every combination."""

from __future__ import annotations

import numpy as np
import pytest

from golden.errors import UserError
from golden.pattern import MASKS, Pattern
from quant import budget
from quant.budget import Chosen, Menu, at_sigma, menus, reaching, within
from quant.curves import Curve, Statistics
from quant.zap import Site

MACS = {"first": 50_000, "one": 100_000, "two": 40_000, "three": 210_000}
PATTERNS = [MASKS["B"], MASKS["D"]]
GRID = np.arange(15) / 10


@pytest.fixture(autouse=True)
def _short_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few thresholds that every combination can be tried."""
    monkeypatch.setattr(budget, "SIGMAS", GRID)


def random_statistics(seed: int) -> Statistics:
    """Curves that grow with the threshold and have nothing else in common with real ones."""
    rng = np.random.default_rng(seed)
    curves = {
        Site(layer, pattern): Curve(
            error=np.sort(rng.random(len(GRID)) * rng.choice([0.02, 0.1])),
            skipped=np.sort(rng.random(len(GRID)) * (1 - pattern.alpha)),
        )
        for layer in ("one", "two", "three")
        for pattern in PATTERNS
    }
    return Statistics(MACS, curves)


def combinations(every: list[Menu]) -> tuple[np.ndarray, np.ndarray]:
    """Errors and savings of all ways to take one alternative from each menu."""
    errors, savings = np.zeros(1), np.zeros(1)
    for menu in every:
        errors = np.add.outer(errors, menu.errors).ravel()
        savings = np.add.outer(savings, menu.savings).ravel()
    return errors, savings


def says_what_the_curves_say(chosen: Chosen, statistics: Statistics) -> bool:
    """Its figures are those of the layers that it names."""
    error = saving = 0.0
    for layer, (pattern, sigma) in chosen.layers.items():
        k = int(np.flatnonzero(sigma == GRID)[0])
        error += statistics.curves[Site(layer, pattern)].error[k]
        saving += statistics.curves[Site(layer, pattern)].skipped[k] * MACS[layer] / 400_000
    return chosen.error == pytest.approx(error) and chosen.mac_reduction == pytest.approx(saving)


@pytest.mark.parametrize("uniform", [False, True], ids=["per-layer", "uniform"])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("error", [0.002, 0.01, 0.03, 0.1, 1.0])
def test_within_an_error_the_most_is_saved(seed: int, error: float, uniform: bool) -> None:
    statistics = random_statistics(seed)
    every = menus(statistics, PATTERNS, uniform=uniform)
    errors, savings = combinations(every)
    best = savings[errors <= error].max()
    chosen = within(every, error)
    assert chosen.error <= error + 1e-9
    assert chosen.mac_reduction >= best - 1e-3
    assert says_what_the_curves_say(chosen, statistics)


@pytest.mark.parametrize("uniform", [False, True], ids=["per-layer", "uniform"])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("wanted", [0.02, 0.1, 0.2])
def test_a_reduction_is_reached_at_the_least_error(seed: int, wanted: float, uniform: bool) -> None:
    statistics = random_statistics(seed)
    every = menus(statistics, PATTERNS, uniform=uniform)
    errors, savings = combinations(every)
    best = errors[savings >= wanted].min()
    chosen = reaching(every, wanted)
    assert chosen.mac_reduction >= wanted - 1e-9
    assert chosen.error <= best * 1.001 + 1e-9
    assert says_what_the_curves_say(chosen, statistics)


def test_per_layer_is_never_worse_than_uniform() -> None:
    for seed in range(20):
        statistics = random_statistics(seed)
        for error in (0.01, 0.05, 0.2):
            layered, uniform = (
                within(menus(statistics, PATTERNS, uniform=u), error) for u in (False, True)
            )
            assert layered.mac_reduction >= uniform.mac_reduction - 1e-3


def test_uniform_is_one_pattern_and_one_threshold() -> None:
    chosen = within(menus(random_statistics(1), PATTERNS, uniform=True), 0.1)
    assert chosen.layers.keys() == {"one", "two", "three"}
    assert len(set(chosen.layers.values())) == 1


def test_only_the_patterns_named_are_chosen_from() -> None:
    chosen = within(menus(random_statistics(1), PATTERNS[:1], uniform=False), 1.0)
    assert {pattern for pattern, _ in chosen.layers.values()} == {MASKS["B"]}


def test_what_costs_nothing_is_taken_and_nothing_else_where_the_budget_is_nothing() -> None:
    curves = {
        Site("one", MASKS["B"]): Curve(np.maximum(GRID - 0.1, 0), (1 + GRID * 10) / 100),
        Site("two", MASKS["B"]): Curve(0.1 + GRID, np.full(len(GRID), 0.5)),
    }
    chosen = within(menus(Statistics(MACS, curves), PATTERNS, uniform=False), 0)
    assert chosen.layers == {"one": (MASKS["B"], 0.1)}
    assert chosen.error == 0
    assert chosen.mac_reduction == pytest.approx(0.02 * 0.25)


def test_what_is_out_of_reach_is_refused_with_the_best_there_is() -> None:
    statistics = random_statistics(3)
    best = max(combinations(menus(statistics, PATTERNS, uniform=False))[1])
    with pytest.raises(UserError, match=f"0.9 is out of reach: .* reach is {best:.4f}"):
        reaching(menus(statistics, PATTERNS, uniform=False), 0.9)


def test_a_threshold_between_those_of_the_statistics_is_interpolated() -> None:
    statistics = random_statistics(2)
    low, middle, high = (at_sigma(statistics, MASKS["D"], sigma) for sigma in (0.1, 0.15, 0.2))
    assert middle.layers["two"] == (MASKS["D"], 0.15)
    assert middle.error == pytest.approx((low.error + high.error) / 2)
    assert middle.mac_reduction == pytest.approx((low.mac_reduction + high.mac_reduction) / 2)
    assert at_sigma(statistics, Pattern.parse("4:0100"), 0.1) == Chosen({}, 0, 0)
