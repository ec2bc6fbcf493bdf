"""From budgets to operating points: how much accuracy an error costs, measured at a few of them.

Accuracy falls linearly in the sum of eps while that is small (section 3 of the paper), so a few
measurements on images held out tell what any choice will lose. Here losses bend upwards well before
they reach three points, so the line has a corner at each measurement, and measurements are made
where the budgets will make use of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from golden.errors import UserError
from golden.pattern import Pattern
from quant.points.knapsack import Chosen, Thresholds, at_sigma, menus, reaching, within
from quant.points.statistics import Statistics

__all__ = ["Budget", "Chooser", "Line"]

_SCOUTS = (0.25, 0.5, 0.75, 1.0)
"""Of all that can be skipped, the shares whose loss is measured first, until one is clear."""
_CLEAR_DROP = 0.5
"""So many points are."""
_ROUNDS = 3
"""At most so many measurements follow, each at the budget that is farthest from any so far."""
_NEAR = 0.02
"""A budget that is no farther than this from a measurement needs none of its own."""


@dataclass(frozen=True)
class Budget:
    """What the user asks for; `option` is the command-line option without its dashes."""

    option: str
    value: float

    def __str__(self) -> str:
        return f"{self.option} {self.value:g}"


class Line:
    """The accuracy-error line: straight from the origin to each measurement in turn, and beyond.

    A measurement below one at a smaller error is noise and taken as equal to it. Raises UserError
    where no loss was measured at all.

    Parameters
    ----------
    errors, drops : one number for each measurement
        Sums of eps over the layers, positive, and points of top-1 accuracy lost.
    """

    def __init__(self, errors: Sequence[float], drops: Sequence[float]) -> None:
        order = np.argsort(errors)
        self.errors = np.concatenate([[0.0], np.asarray(errors)[order]])
        self.drops = np.maximum.accumulate(np.concatenate([[0.0], np.asarray(drops)[order]]))
        if self.drops[-1] <= 0:
            raise UserError(
                "the images held out show no loss of accuracy that thresholds could be chosen by; "
                "give more with --held-out or --augment-held-out"
            )

    @property
    def corners(self) -> list[tuple[float, float]]:
        """(error, drop) of each measurement, as the line passes through it."""
        return list(zip(self.errors[1:].tolist(), self.drops[1:].tolist()))

    def drop(self, error: float) -> float:
        """Points that are lost at an error."""
        beyond = max(error / self.errors[-1], 1)
        return float(np.interp(error, self.errors, self.drops) * beyond)

    def error(self, drop: float) -> float:
        """The error at which so many points are lost."""
        beyond = max(drop / self.drops[-1], 1)
        return float(np.interp(drop, self.drops, self.errors) * beyond)


class Chooser:
    """Turns budgets into operating points.

    Parameters
    ----------
    statistics : Statistics
    patterns : sequence of Pattern
        The ones to choose from; exactly one where a budget is a threshold.
    thresholds : Thresholds
    """

    def __init__(
        self, statistics: Statistics, patterns: Sequence[Pattern], thresholds: Thresholds
    ) -> None:
        self.statistics = statistics
        self.patterns = patterns
        self.thresholds = thresholds
        self.menus = menus(statistics, patterns, thresholds)

    def choose(self, budget: Budget, line: Line | None) -> Chosen:
        """The operating point that meets a budget; only one of accuracy needs a line.

        Raises UserError where none does.
        """
        if budget.option == "sigma":
            return at_sigma(self.statistics, self.patterns[0], budget.value)
        if budget.option == "mac-reduction":
            return reaching(self.menus, budget.value)
        assert line is not None
        chosen = within(self.menus, line.error(budget.value))
        if not chosen.layers:
            least = min(float(menu.errors[menu.errors > 0].min()) for menu in self.menus)
            raise UserError(
                f"{budget} is out of reach: the least that skipping anything is predicted to "
                f"lose is {line.drop(least):.4f} points"
            )
        return chosen

    def measure_line(self, budgets: Sequence[Budget], drop_of: Callable[[Chosen], float]) -> Line:
        """The accuracy-error line; `drop_of` measures the points that a choice loses."""
        most = sum(float(menu.savings.max()) for menu in self.menus)
        errors: list[float] = []
        drops: list[float] = []

        def measure(probe: Chosen) -> None:
            errors.append(probe.error)
            drops.append(drop_of(probe))

        for share in _SCOUTS:
            measure(reaching(self.menus, share * most))
            if drops[-1] >= _CLEAR_DROP:
                break
        for _ in range(_ROUNDS):
            line = Line(errors, drops)
            wanted = [self.choose(budget, line).error for budget in budgets]
            farthest = max(wanted, key=lambda error: _distance(error, errors))
            if _distance(farthest, errors) <= _NEAR:
                break
            measure(within(self.menus, farthest))
        return Line(errors, drops)


def _distance(error: float, measured: Sequence[float]) -> float:
    """From the nearest measurement, relative: 0 for one of them, at most 1."""
    return min(abs(error - other) / max(error, other) for other in measured if other > 0)
