"""The patterns and thresholds to choose from, each with the error it makes and the MACs it saves.

The error is the sum of eps over the layers (paper, section 3); accuracy falls linearly in it. Each
layer has one list of alternatives, of which one is taken. Where pattern and threshold are the same
in all layers, there is one list for the whole network.

Each channel of a layer may have its own threshold. This costs the hardware nothing, because it
reads thresholds from a table. The thresholds that save most at a given error have the same slope
(saving gained for error added) in every channel. A layer's alternatives are therefore sets of
thresholds, one set for each of many slopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from golden.pattern import Pattern
from quant.points.statistics import SIGMAS, Statistics
from quant.zap.predictor import Site

__all__ = ["Alternatives", "Choice", "Granularity", "list_alternatives", "uniform_choice"]

_SLOPES = np.append(np.geomspace(1e-2, 1e4, 241), 1e9)
"""Share of a layer's activations skipped for each unit of eps. At the last slope, only what loses
nothing is skipped."""


class Granularity(StrEnum):
    """Each channel, each layer or only the whole network has its own threshold.

    Each layer also has its own pattern, except with UNIFORM.
    """

    CHANNEL = "channel"
    LAYER = "layer"
    UNIFORM = "uniform"


@dataclass(frozen=True)
class Choice:
    """The layers that run with ZAP, and the figures that the statistics give for them."""

    layers: dict[str, tuple[Pattern, float | np.ndarray]]
    """Layer -> pattern and threshold, or pattern and thresholds float64 (channels,). Other layers
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
    """float64 (alternatives,), or (alternatives, channels) where there is one site."""
    errors: np.ndarray
    savings: np.ndarray
    """float64 (alternatives,)."""


class Alternatives:
    """A list of alternatives of which one is taken. The first is to run without ZAP.

    `errors` and `savings` are float64 (alternatives,).
    """

    def __init__(self, sweeps: Sequence[_Sweep]) -> None:
        self.errors = np.concatenate([[0.0], *(sweep.errors for sweep in sweeps)])
        self.savings = np.concatenate([[0.0], *(sweep.savings for sweep in sweeps)])
        self._sweeps = sweeps

    def layers(self, index: int) -> dict[str, tuple[Pattern, float | np.ndarray]]:
        """Return what an alternative sets, in the form of `Choice.layers`."""
        k = index - 1
        for sweep in self._sweeps:
            if 0 <= k < len(sweep.sigmas):
                sigma = sweep.sigmas[k] if sweep.sigmas.ndim > 1 else float(sweep.sigmas[k])
                return {site.layer: (site.pattern, sigma) for site in sweep.sites}
            k -= len(sweep.sigmas)
        return {}


def list_alternatives(
    statistics: Statistics, patterns: Sequence[Pattern], granularity: Granularity
) -> list[Alternatives]:
    """List the alternatives of each layer, or of the whole network, among the given patterns."""
    groups = [[s for s in statistics.sites if s.pattern == pattern] for pattern in patterns]
    if granularity is Granularity.UNIFORM:
        return [Alternatives([_one_threshold(statistics, group) for group in groups])]
    layers = dict.fromkeys(site.layer for group in groups for site in group)
    return [
        Alternatives(
            [
                _thresholds_by_channel(statistics, site)
                if granularity is Granularity.CHANNEL
                else _one_threshold(statistics, [site])
                for group in groups
                for site in group
                if site.layer == layer
            ]
        )
        for layer in layers
    ]


def uniform_choice(statistics: Statistics, pattern: Pattern, sigma: float) -> Choice:
    """Choose one pattern and one threshold for all layers; sigma need not be among `SIGMAS`."""
    sites = [site for site in statistics.sites if site.pattern == pattern]
    return Choice(
        {site.layer: (pattern, sigma) for site in sites},
        sum(float(np.interp(sigma, SIGMAS, statistics.sites[site].error)) for site in sites),
        sum(float(np.interp(sigma, SIGMAS, statistics.mac_saving(site))) for site in sites),
    )


def _one_threshold(statistics: Statistics, sites: Sequence[Site]) -> _Sweep:
    """Use the same threshold, each of `SIGMAS` in turn, in all channels of all sites."""
    return _Sweep(
        sites,
        SIGMAS,
        errors=np.sum([statistics.sites[site].error for site in sites], axis=0),
        savings=np.sum([statistics.mac_saving(site) for site in sites], axis=0),
    )


def _thresholds_by_channel(statistics: Statistics, site: Site) -> _Sweep:
    """Use a threshold for each channel: the best ones at each of `_SLOPES`, without repetitions."""
    counted = statistics.sites[site]
    taken = np.unique(
        [
            (counted.channel_skipped - slope * counted.channel_error).argmax(axis=1)
            for slope in _SLOPES
        ],
        axis=0,
    )
    channels = np.arange(taken.shape[1])
    skipped = counted.channel_skipped[channels, taken].sum(axis=1)
    return _Sweep(
        [site],
        SIGMAS[taken],
        errors=counted.channel_error[channels, taken].sum(axis=1),
        savings=skipped * statistics.mac_share(site),
    )
