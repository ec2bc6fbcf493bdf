"""The patterns and thresholds to choose from, each with the error it makes and the MACs it saves.

The error is the sum of eps over the layers (paper, section 3); accuracy falls linearly in it. Each
layer has one list of alternatives, of which one is taken. Where pattern and threshold are the same
in all layers, there is one list for the whole network.

Each channel of a layer may have its own threshold. This costs the hardware nothing, because it
reads thresholds from a table. The thresholds that save most at a given error have the same slope
(saving gained for error added) in every channel. A layer's alternatives are therefore sets of
thresholds, one set for each of many slopes.

What is saved is MACs, or cycles where the compiler has told what layers take. Then a layer that a
ZAP would slow, or hardly gains by it, runs without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from golden.pattern import Pattern
from quant.points.cycle_savings import CycleSavings
from quant.points.statistics import SIGMAS, Statistics
from quant.zap.predictor import Site

__all__ = ["Alternatives", "Choice", "Granularity", "list_alternatives", "uniform_choice"]

_SLOPES = np.append(np.geomspace(1e-2, 1e4, 241), 1e9)
"""Share of a layer's activations skipped for each unit of eps. At the last slope, only what loses
nothing is skipped."""

_LEAST_GAIN = 0.06
"""Share of a layer's cycles that its ZAP must save where cycles are counted. Some images skip less
than the mean of the statistics, and the cycle model is a little off: less may be a loss on the
core."""


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
    cycle_reduction: float | None = None
    """Share of the network's cycles; None if the choice was not made by cycles."""


@dataclass(frozen=True)
class _Sweep:
    """Sites that run together, at one of many thresholds."""

    sites: Sequence[Site]
    sigmas: np.ndarray
    """float64 (alternatives,), or (alternatives, channels) where there is one site."""
    errors: np.ndarray
    savings: np.ndarray
    """The savings: shares of the network's MACs or cycles, float64 (alternatives,)."""
    mac_savings: np.ndarray
    """Shares of the network's MACs, float64 (alternatives,)."""
    used: np.ndarray
    """The sites that run with their ZAP in each alternative, bool (alternatives, sites)."""


class Alternatives:
    """A list of alternatives of which one is taken. The first is to run without ZAP.

    `errors`, `savings` and `mac_savings` are float64 (alternatives,). `savings` are what counts:
    shares of the network's MACs or, if they are `by_cycles`, cycles.
    """

    def __init__(self, sweeps: Sequence[_Sweep], *, by_cycles: bool = False) -> None:
        self.by_cycles = by_cycles
        self.errors = np.concatenate([[0.0], *(sweep.errors for sweep in sweeps)])
        self.savings = np.concatenate([[0.0], *(sweep.savings for sweep in sweeps)])
        self.mac_savings = np.concatenate([[0.0], *(sweep.mac_savings for sweep in sweeps)])
        self._sweeps = sweeps

    def layers(self, index: int) -> dict[str, tuple[Pattern, float | np.ndarray]]:
        """Return what an alternative sets, in the form of `Choice.layers`."""
        k = index - 1
        for sweep in self._sweeps:
            if 0 <= k < len(sweep.sigmas):
                sigma = sweep.sigmas[k] if sweep.sigmas.ndim > 1 else float(sweep.sigmas[k])
                used = zip(sweep.sites, sweep.used[k], strict=True)
                return {site.layer: (site.pattern, sigma) for site, runs in used if runs}
            k -= len(sweep.sigmas)
        return {}


def list_alternatives(
    statistics: Statistics,
    patterns: Sequence[Pattern],
    granularity: Granularity,
    cycles: CycleSavings | None = None,
) -> list[Alternatives]:
    """List the alternatives of each layer, or of the whole network, among the given patterns.

    With `cycles`, what is saved are cycles, and sites that it does not know are left out.
    """
    sites = [site for site in statistics.sites if cycles is None or cycles.knows(site)]
    groups = [[site for site in sites if site.pattern == pattern] for pattern in patterns]
    if granularity is Granularity.UNIFORM:
        sweeps = [_one_threshold(statistics, group, cycles) for group in groups if group]
        return [Alternatives(sweeps, by_cycles=cycles is not None)]
    layers = dict.fromkeys(site.layer for group in groups for site in group)
    return [
        Alternatives(
            [
                _thresholds_by_channel(statistics, site, cycles)
                if granularity is Granularity.CHANNEL
                else _one_threshold(statistics, [site], cycles)
                for group in groups
                for site in group
                if site.layer == layer
            ],
            by_cycles=cycles is not None,
        )
        for layer in layers
    ]


def uniform_choice(
    statistics: Statistics,
    pattern: Pattern,
    sigma: float,
    cycles: CycleSavings | None = None,
) -> Choice:
    """Choose one pattern and one threshold for all layers; sigma need not be among `SIGMAS`.

    With `cycles`, layers that this makes slower, or hardly faster, run without ZAP.
    """

    def at_sigma(curve: np.ndarray) -> float:
        return float(np.interp(sigma, SIGMAS, curve))

    chosen = {}
    for site in statistics.sites:
        if site.pattern == pattern and (cycles is None or cycles.knows(site)):
            saved = 0.0 if cycles is None else at_sigma(_saved_cycles(statistics, site, cycles))
            if cycles is None or saved > _LEAST_GAIN * cycles.share(site.layer):
                chosen[site] = saved
    return Choice(
        {site.layer: (pattern, sigma) for site in chosen},
        sum(at_sigma(statistics.sites[site].error) for site in chosen),
        sum(at_sigma(statistics.mac_saving(site)) for site in chosen),
        None if cycles is None else sum(chosen.values()),
    )


def _saved_cycles(statistics: Statistics, site: Site, cycles: CycleSavings) -> np.ndarray:
    """Return the share of the network's cycles that a site saves at each of `SIGMAS`."""
    skipped = statistics.sites[site].channel_skipped
    return cycles.of_channels(site, skipped).sum(axis=0) * cycles.share(site.layer)


def _one_threshold(
    statistics: Statistics, sites: Sequence[Site], cycles: CycleSavings | None
) -> _Sweep:
    """Use the same threshold, each of `SIGMAS` in turn, in all channels of all sites.

    A site that saves hardly any cycles at a threshold runs without its ZAP there.
    """
    errors, macs = (
        np.array([curve(site) for site in sites])
        for curve in (lambda site: statistics.sites[site].error, statistics.mac_saving)
    )
    savings = macs
    used = np.ones(macs.shape, bool)
    if cycles is not None:
        savings = np.array([_saved_cycles(statistics, site, cycles) for site in sites])
        shares = np.array([cycles.share(site.layer) for site in sites])
        used = savings > _LEAST_GAIN * shares[:, None]
    return _Sweep(
        sites,
        SIGMAS,
        errors=(errors * used).sum(axis=0),
        savings=(savings * used).sum(axis=0),
        mac_savings=(macs * used).sum(axis=0),
        used=used.T,
    )


def _thresholds_by_channel(
    statistics: Statistics, site: Site, cycles: CycleSavings | None
) -> _Sweep:
    """Use a threshold for each channel: the best ones at each of `_SLOPES`, without repetitions.

    What saves hardly any cycles is left out.
    """
    counted = statistics.sites[site]
    worth, weight = counted.channel_skipped, statistics.mac_share(site)
    if cycles is not None:
        worth, weight = cycles.of_channels(site, worth), cycles.share(site.layer)
    taken = np.unique(
        [(worth - slope * counted.channel_error).argmax(axis=1) for slope in _SLOPES],
        axis=0,
    )
    channels = np.arange(taken.shape[1])
    if cycles is not None:
        taken = taken[worth[channels, taken].sum(axis=1) > _LEAST_GAIN]
    skipped = counted.channel_skipped[channels, taken].sum(axis=1)
    return _Sweep(
        [site],
        SIGMAS[taken],
        errors=counted.channel_error[channels, taken].sum(axis=1),
        savings=worth[channels, taken].sum(axis=1) * weight,
        mac_savings=skipped * statistics.mac_share(site),
        used=np.ones((len(taken), 1), bool),
    )
