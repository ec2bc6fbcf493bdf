"""Writes what the layers of a bundle take on a core, for the choice of operating points.

A share of skips is a mean over images, and each image skips a whole number of a channel's
activations, of which the array computes several at a time. So cycles rise in steps, and those at
the mean are not the mean of the cycles. The costs are therefore expected ones: each activation that
a pattern leaves to the predictor is skipped with the same probability.
"""

from __future__ import annotations

from math import comb

import numpy as np

from compiler.costs import LATENCY, NetworkCosts
from golden.bundle import Bundle
from golden.costs import COSTS_VERSION, LayerCosts, NetworkCostsFile, ZapCosts
from golden.pattern import Pattern
from hw.contract.config import Config

__all__ = ["network_costs"]

_SHARES = 50
"""Steps from nothing skipped to all that a pattern leaves to the predictor. Larger maps are counted
as if they left no more activations than that: their steps are small."""


def network_costs(
    bundle: Bundle, config: Config, *, latency: int = LATENCY, images: int = 1
) -> NetworkCostsFile:
    """Return the cycles of each layer, and what each predictor of the bundle saves of them.

    They are of each of the `images` that run at a time. A layer that does not fit with its
    predictor has no entry for it. Raises UserError where a layer does not fit at all.
    """
    costs = NetworkCosts(bundle, config, latency=latency, images=images)
    for misfit in costs.misfits.values():
        raise misfit
    ofms = {layer.name: layer.output for layer in bundle.manifest.layers}
    zaps: dict[str, dict[str, ZapCosts]] = {}
    for node in bundle.manifest.predictors.values():
        pattern = Pattern.parse(node.pattern)
        most = costs.most_skipped(node.layer, pattern)
        if most > 0 and costs.zap_misfit(node.layer, pattern) is None:
            height, width = bundle.manifest.activations[ofms[node.layer]].shape[1:]
            count = min(round(most * height * width), _SHARES)
            saved = [costs.saved(node.layer, pattern, most * n / count) for n in range(count + 1)]
            zaps.setdefault(node.layer, {})[node.pattern] = ZapCosts(
                skipped=np.linspace(0, most, _SHARES + 1).tolist(),
                saved=[float(chances @ saved) for chances in _chances(count)],
            )
    return NetworkCostsFile(
        version=COSTS_VERSION,
        network=bundle.manifest.name,
        config=config.name,
        latency=latency,
        layers={
            name: LayerCosts(cycles=cycles.elapsed, zaps=zaps.get(name, {}))
            for name, cycles in costs.cycles().items()
        },
    )


def _chances(count: int) -> np.ndarray:
    """Return how likely 0 .. `count` skips are at each share: float64 (_SHARES + 1, count + 1)."""
    share = np.linspace(0, 1, _SHARES + 1)[:, None]
    skips = np.arange(count + 1)
    ways = np.array([comb(count, number) for number in skips], float)
    return ways * share**skips * (1 - share) ** (count - skips)
