"""The choice that saves most within an error, or that has the least error at a saving.

One alternative is taken for each layer. This is a multiple-choice knapsack problem; it is solved by
dynamic programming.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from golden.errors import UserError
from golden.pattern import Pattern
from quant.points.alternatives import Alternatives, Choice

__all__ = ["best_with_mac_reduction", "best_with_saving", "best_within_error"]

_LEVELS = 20_000
"""The budget is divided into so many parts; each layer may waste less than one of them."""
_NOTHING = 1e-12
"""Stands for a budget of zero."""


def best_within_error(layers: Sequence[Alternatives], error: float) -> Choice:
    """Choose what saves most at a sum of eps of at most `error`."""
    errors = [alternatives.errors for alternatives in layers]
    savings = [alternatives.savings for alternatives in layers]
    return _choice(layers, _solve(errors, savings, error))


def best_with_mac_reduction(layers: Sequence[Alternatives], mac_reduction: float) -> Choice:
    """Choose what has the least sum of eps and saves a share `mac_reduction` of the conv MACs.

    Raises UserError as `best_with_saving` does.
    """
    return best_with_saving(layers, mac_reduction, f"a MAC reduction of {mac_reduction:g}")


def best_with_saving(layers: Sequence[Alternatives], saving: float, budget: str) -> Choice:
    """Choose what has the least sum of eps and saves a share `saving` of the MACs or cycles.

    Raises
    ------
    UserError
        If so much cannot be saved. It calls the saving `budget`, and says how much can be.
    """
    best = sum(float(alternatives.savings.max()) for alternatives in layers)
    if saving > best:
        raise UserError(
            f"{budget} is out of reach: the best that these predictors reach is {best:.4f}"
        )
    # The budget is the saving that may be missed, the value is the error that is avoided.
    unsaved = [alternatives.savings.max() - alternatives.savings for alternatives in layers]
    errors = [-alternatives.errors for alternatives in layers]
    return _choice(layers, _solve(unsaved, errors, best - saving))


def _choice(layers: Sequence[Alternatives], taken: Sequence[int]) -> Choice:
    chosen: dict[str, tuple[Pattern, float | np.ndarray]] = {}
    for alternatives, index in zip(layers, taken):
        chosen |= alternatives.layers(index)
    pairs = list(zip(layers, taken))
    saved = sum(float(alternatives.savings[index]) for alternatives, index in pairs)
    return Choice(
        chosen,
        sum(float(alternatives.errors[index]) for alternatives, index in pairs),
        sum(float(alternatives.mac_savings[index]) for alternatives, index in pairs),
        saved if any(alternatives.by_cycles for alternatives in layers) else None,
    )


def _solve(
    weights: Sequence[np.ndarray], values: Sequence[np.ndarray], capacity: float
) -> list[int]:
    """Take one index of each array: the greatest sum of values at a sum of weights <= capacity.

    Each array has an alternative of weight 0. Weights are rounded up to capacity / _LEVELS. So the
    result keeps to the capacity, and it is at least the optimum of a capacity that is smaller by a
    factor of (1 - len(weights) / _LEVELS).
    """
    best = np.zeros(_LEVELS + 1)  # the value of the arrays so far, for each capacity in levels
    choices = []
    level_of = []
    for weight, value in zip(weights, values):
        # The tolerance is for sums of floats that should be whole levels.
        levels = np.ceil(weight * (_LEVELS / max(capacity, _NOTHING)) - 1e-6).astype(np.int64)
        worth = np.full(_LEVELS + 1, -np.inf)
        choice = np.zeros(_LEVELS + 1, dtype=np.int64)
        for index in _undominated(levels, value):
            start = levels[index]
            if start <= _LEVELS:
                candidate = best[: _LEVELS + 1 - start] + value[index]
                better = candidate > worth[start:]
                worth[start:][better] = candidate[better]
                choice[start:][better] = index
        best = worth
        choices.append(choice)
        level_of.append(levels)
    taken = []
    left = _LEVELS
    for choice, levels in zip(reversed(choices), reversed(level_of)):
        taken.append(int(choice[left]))
        left -= levels[taken[-1]]
    return taken[::-1]


def _undominated(levels: np.ndarray, value: np.ndarray) -> list[int]:
    """List the alternatives that are worth more than every one of the same or a smaller weight."""
    order = np.lexsort((-value, levels))
    before = np.concatenate([[-np.inf], np.maximum.accumulate(value[order])[:-1]])
    return order[value[order] > before].tolist()
