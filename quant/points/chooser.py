"""Budgets, and the operating points that meet them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from golden.errors import UserError
from golden.pattern import Pattern
from quant.points.accuracy_line import AccuracyLine
from quant.points.alternatives import Choice, Granularity, list_alternatives, uniform_choice
from quant.points.cycle_savings import CycleSavings
from quant.points.knapsack import (
    best_with_mac_reduction,
    best_with_saving,
    best_within_error,
)
from quant.points.statistics import Statistics

__all__ = ["Budget", "Chooser"]

_FIRST_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of all that can be skipped. Their losses are measured first, in this order, until one is
clear."""
_CLEAR_DROP = 0.5
"""A loss of so many percentage points is clear."""
_ROUNDS = 3
"""At most so many measurements follow, each at the budget that is farthest from all so far."""
_NEAR = 0.02
"""A budget that is no farther than this from a measurement needs none of its own."""


@dataclass(frozen=True)
class Budget:
    """A budget that the user sets; `option` is the command-line option without its dashes."""

    option: str
    value: float

    def __str__(self) -> str:
        return f"{self.option} {self.value:g}"


class Chooser:
    """Turns budgets into choices of patterns and thresholds.

    Parameters
    ----------
    statistics : Statistics
    patterns : sequence of Pattern
        The ones to choose from; exactly one where a budget is a threshold.
    granularity : Granularity
    cycles : CycleSavings, optional
        Cycles are saved, and not MACs.

    Raises
    ------
    UserError
        If nothing can be saved.
    """

    def __init__(
        self,
        statistics: Statistics,
        patterns: Sequence[Pattern],
        granularity: Granularity,
        cycles: CycleSavings | None = None,
    ) -> None:
        self.statistics = statistics
        self.patterns = patterns
        self.granularity = granularity
        self.cycles = cycles
        self.layers = list_alternatives(statistics, patterns, granularity, cycles)
        if not any(layer.savings.max() > 0 for layer in self.layers):
            raise UserError("no predictor saves anything: the network is fastest without ZAP")

    def choose(self, budget: Budget, line: AccuracyLine | None) -> Choice:
        """Choose what meets a budget; only a budget of accuracy needs a line.

        Raises UserError if nothing meets it.
        """
        if budget.option == "sigma":
            return uniform_choice(self.statistics, self.patterns[0], budget.value, self.cycles)
        if budget.option == "speed-up":
            return best_with_saving(
                self.layers, 1 - 1 / budget.value, f"{budget}, so much less of the cycles,"
            )
        if budget.option == "mac-reduction":
            return best_with_mac_reduction(self.layers, budget.value)
        assert line is not None
        choice = best_within_error(self.layers, line.error_at(budget.value))
        if not choice.layers:
            least = min(float(layer.errors[layer.errors > 0].min()) for layer in self.layers)
            raise UserError(
                f"{budget} is out of reach: the least that skipping anything is predicted to "
                f"lose is {line.drop_at(least):.4f} percentage points"
            )
        return choice

    def measure_line(
        self, budgets: Sequence[Budget], drop_of: Callable[[Choice], float]
    ) -> AccuracyLine:
        """Measure the accuracy-error line where the budgets will use it.

        `drop_of` measures the percentage points that a choice loses.
        """
        most = sum(float(layer.savings.max()) for layer in self.layers)
        errors: list[float] = []
        drops: list[float] = []

        def measure(choice: Choice) -> None:
            errors.append(choice.error)
            drops.append(drop_of(choice))

        for share in _FIRST_SHARES:
            measure(best_with_saving(self.layers, share * most, f"{share:.0%} of all savings"))
            if drops[-1] >= _CLEAR_DROP:
                break
        for _ in range(_ROUNDS):
            line = AccuracyLine(errors, drops)
            wanted = [self.choose(budget, line).error for budget in budgets]
            farthest = max(wanted, key=lambda error: _distance(error, errors))
            if _distance(farthest, errors) <= _NEAR:
                break
            measure(best_within_error(self.layers, farthest))
        return AccuracyLine(errors, drops)


def _distance(error: float, measured: Sequence[float]) -> float:
    """Relative distance from the nearest measurement: 0 at a measurement, at most 1."""
    return min(abs(error - other) / max(error, other) for other in measured if other > 0)
