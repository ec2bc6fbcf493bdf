"""The patterns and thresholds that save most within a budget, by the statistics alone.

Error here is the sum of eps over the layers (paper, section 3), which accuracy falls linearly in. A
`Menu` is a list of alternatives of which one is taken, each with its error and its saving: one menu
for every layer, or one for the whole network where pattern and threshold are to be uniform. What to
take from many menus is a multiple-choice knapsack, solved by dynamic programming.

Within a layer each channel may have a threshold of its own, which costs the hardware nothing: it
compares with a table. What saves most at a given error then has the same slope, saving gained for
error added, in every channel; so a layer's alternatives are the thresholds at one slope each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from golden.errors import UserError
from golden.pattern import Pattern
from quant.points.statistics import SIGMAS, Statistics
from quant.zap.training import Site

__all__ = ["Chosen", "Menu", "Thresholds", "at_sigma", "menus", "reaching", "within"]

_LEVELS = 20_000
"""A budget is spent in so many parts; each menu may waste less than one of them."""
_NOTHING = 1e-12
"""Stands for a budget of zero."""
_SLOPES = np.append(np.geomspace(1e-2, 1e4, 241), 1e9)
"""Shares of a layer's activations skipped for eps; the last one gives away nothing."""


class Thresholds(StrEnum):
    """What has a threshold of its own. Every layer has a pattern of its own, but with UNIFORM."""

    CHANNEL = "channel"
    LAYER = "layer"
    UNIFORM = "uniform"


@dataclass(frozen=True)
class Chosen:
    """What runs with ZAP, and what the statistics say of it."""

    layers: dict[str, tuple[Pattern, float | np.ndarray]]
    """Layer -> pattern and threshold, or thresholds float64 (channels,); layers that are not named
    run without ZAP."""
    error: float
    """Sum of eps over the layers."""
    mac_reduction: float
    """Share of the network's conv MACs."""


@dataclass(frozen=True)
class _Sweep:
    """Sites that run together, at one of many thresholds."""

    sites: Sequence[Site]
    sigmas: np.ndarray
    """float64 (alternatives,), or (alternatives, channels) of the only site."""
    errors: np.ndarray
    savings: np.ndarray
    """float64 (alternatives,)."""


class Menu:
    """Alternatives of which one is taken; the first is no ZAP.

    `errors` and `savings` are float64 (alternatives,).
    """

    def __init__(self, sweeps: Sequence[_Sweep]) -> None:
        self.errors = np.concatenate([[0.0], *(sweep.errors for sweep in sweeps)])
        self.savings = np.concatenate([[0.0], *(sweep.savings for sweep in sweeps)])
        self._sweeps = sweeps

    def layers(self, index: int) -> dict[str, tuple[Pattern, float | np.ndarray]]:
        """What an alternative sets, as in `Chosen`."""
        k = index - 1
        for sweep in self._sweeps:
            if 0 <= k < len(sweep.sigmas):
                sigma = sweep.sigmas[k] if sweep.sigmas.ndim > 1 else float(sweep.sigmas[k])
                return {site.layer: (site.pattern, sigma) for site in sweep.sites}
            k -= len(sweep.sigmas)
        return {}


def menus(
    statistics: Statistics, patterns: Sequence[Pattern], thresholds: Thresholds
) -> list[Menu]:
    """One menu for each layer, or one for the network, of the predictors for `patterns`."""
    groups = [[s for s in statistics.curves if s.pattern == pattern] for pattern in patterns]
    if thresholds is Thresholds.UNIFORM:
        return [Menu([_same(statistics, group) for group in groups])]
    layers = dict.fromkeys(site.layer for group in groups for site in group)
    return [
        Menu(
            [
                _each(statistics, site)
                if thresholds is Thresholds.CHANNEL
                else _same(statistics, [site])
                for group in groups
                for site in group
                if site.layer == layer
            ]
        )
        for layer in layers
    ]


def _same(statistics: Statistics, sites: Sequence[Site]) -> _Sweep:
    """The same threshold, each of `SIGMAS`, in all channels of all sites."""
    return _Sweep(
        sites,
        SIGMAS,
        errors=np.sum([statistics.curves[site].error for site in sites], axis=0),
        savings=np.sum([statistics.saving(site) for site in sites], axis=0),
    )


def _each(statistics: Statistics, site: Site) -> _Sweep:
    """A threshold for each channel, at each of `_SLOPES` that makes a difference."""
    curve = statistics.curves[site]
    taken = np.unique(
        [(curve.channel_skipped - slope * curve.channel_error).argmax(axis=1) for slope in _SLOPES],
        axis=0,
    )
    channels = np.arange(taken.shape[1])
    return _Sweep(
        [site],
        SIGMAS[taken],
        errors=curve.channel_error[channels, taken].sum(axis=1),
        savings=curve.channel_skipped[channels, taken].sum(axis=1) * statistics.share(site),
    )


def within(menus: Sequence[Menu], error: float) -> Chosen:
    """The most MACs saved at a sum of eps of at most `error`."""
    errors = [menu.errors for menu in menus]
    savings = [menu.savings for menu in menus]
    return _chosen(menus, _knapsack(errors, savings, error))


def reaching(menus: Sequence[Menu], mac_reduction: float) -> Chosen:
    """The least sum of eps at which at least a share `mac_reduction` of the conv MACs is saved.

    Raises UserError that says how much can be.
    """
    best = sum(float(menu.savings.max()) for menu in menus)
    if mac_reduction > best:
        raise UserError(
            f"a MAC reduction of {mac_reduction:g} is out of reach: "
            f"the best that these predictors reach is {best:.4f}"
        )
    # What may be left unsaved is the budget, what is not lost the value.
    unsaved = [menu.savings.max() - menu.savings for menu in menus]
    errors = [-menu.errors for menu in menus]
    return _chosen(menus, _knapsack(unsaved, errors, best - mac_reduction))


def at_sigma(statistics: Statistics, pattern: Pattern, sigma: float) -> Chosen:
    """All layers with one pattern at one threshold, which need not be in `SIGMAS`."""
    sites = [site for site in statistics.curves if site.pattern == pattern]
    return Chosen(
        {site.layer: (pattern, sigma) for site in sites},
        sum(float(np.interp(sigma, SIGMAS, statistics.curves[site].error)) for site in sites),
        sum(float(np.interp(sigma, SIGMAS, statistics.saving(site))) for site in sites),
    )


def _chosen(menus: Sequence[Menu], taken: Sequence[int]) -> Chosen:
    layers: dict[str, tuple[Pattern, float | np.ndarray]] = {}
    for menu, index in zip(menus, taken):
        layers |= menu.layers(index)
    return Chosen(
        layers,
        sum(float(menu.errors[index]) for menu, index in zip(menus, taken)),
        sum(float(menu.savings[index]) for menu, index in zip(menus, taken)),
    )


def _knapsack(
    weights: Sequence[np.ndarray], values: Sequence[np.ndarray], capacity: float
) -> list[int]:
    """One index of each menu: the greatest sum of values at a sum of weights <= capacity.

    Each menu has an alternative of weight 0. Weights are rounded up to capacity / _LEVELS, so the
    result keeps to the capacity and is at least the optimum of (1 - menus / _LEVELS) of it.
    """
    best = np.zeros(_LEVELS + 1)  # what the menus so far are worth, for each capacity in levels
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
    """The alternatives that are worth more than every one of the same weight or less."""
    order = np.lexsort((-value, levels))
    before = np.concatenate([[-np.inf], np.maximum.accumulate(value[order])[:-1]])
    return order[value[order] > before].tolist()
