"""Writes what the layers of a bundle take on a core, for the choice of operating points."""

from __future__ import annotations

import numpy as np

from compiler.costs import LATENCY, NetworkCosts
from golden.bundle import Bundle
from golden.costs import COSTS_VERSION, LayerCosts, NetworkCostsFile, ZapCosts
from golden.pattern import Pattern
from hw.contract.config import Config

__all__ = ["network_costs"]

_SHARES = 50
"""Steps from nothing skipped to all that a pattern leaves to the predictor."""


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
    zaps: dict[str, dict[str, ZapCosts]] = {}
    for node in bundle.manifest.predictors.values():
        pattern = Pattern.parse(node.pattern)
        most = costs.most_skipped(node.layer, pattern)
        if most > 0 and costs.zap_misfit(node.layer, pattern) is None:
            skipped = np.linspace(0, most, _SHARES + 1).tolist()
            zaps.setdefault(node.layer, {})[node.pattern] = ZapCosts(
                skipped=skipped,
                saved=[costs.saved(node.layer, pattern, share) for share in skipped],
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
