"""Savings of an operating point in cycles, by the costs that the compiler has written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from golden.costs import NetworkCostsFile
from golden.pattern import Pattern
from quant.points.statistics import SIGMAS, Statistics
from quant.zap.predictor import Site

__all__ = ["CycleSavings"]


class CycleSavings:
    """Turns shares of activations that are skipped into cycles that are saved.

    A layer's cycles are a sum over its channels. The costs are those of a layer whose channels all
    skip the same share, so a channel saves its part of what the layer would at the channel's share.

    Parameters
    ----------
    costs : NetworkCostsFile
    """

    def __init__(self, costs: NetworkCostsFile) -> None:
        self.costs = costs
        self._zaps = {
            (name, Pattern.parse(pattern)): zap
            for name, layer in costs.layers.items()
            for pattern, zap in layer.zaps.items()
        }

    def knows(self, site: Site) -> bool:
        """Return whether the core can run a site's layer with its ZAP."""
        return (site.layer, site.pattern) in self._zaps

    def share(self, layer: str) -> float:
        """Return the layer's share of the network's cycles without ZAP."""
        return self.costs.layers[layer].cycles / self.costs.cycles

    def reduction(
        self, statistics: Statistics, layers: Mapping[str, tuple[Pattern, float | np.ndarray]]
    ) -> float:
        """Return the share of the network's cycles that patterns and thresholds save.

        `layers` is as in `quant.points.alternatives.Choice`. A layer that cannot run with its ZAP
        saves nothing.
        """
        saved = 0.0
        for layer, (pattern, sigma) in layers.items():
            site = Site(layer, pattern)
            if self.knows(site):
                curves = statistics.sites[site].channel_skipped
                sigmas = np.broadcast_to(sigma, len(curves))
                skipped = [np.interp(at, SIGMAS, curve) for at, curve in zip(sigmas, curves)]
                saved += self.of_channels(site, np.array(skipped)).sum() * self.share(layer)
        return saved

    def of_channels(self, site: Site, skipped: np.ndarray) -> np.ndarray:
        """Return what each channel saves, as a share of the layer's cycles; it may be negative.

        `skipped`, (channels, ...), is each channel's part of the share of the layer's activations
        that is skipped.
        """
        zap = self._zaps[site.layer, site.pattern]
        channels = len(skipped)
        saved = np.interp(skipped * channels, zap.skipped, zap.saved)
        return saved / (channels * self.costs.layers[site.layer].cycles)
