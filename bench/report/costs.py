"""The cost of a network's layers at an operating point: cycles, energy and traffic of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from bench.energy import Activity, activity_energy
from bench.report.observe import Observation
from compiler.costs import NetworkCosts, Skips
from hw.contract.config import Config

__all__ = ["LayerCost", "layer_costs", "network_costs", "whole_cost"]


@dataclass(frozen=True)
class LayerCost:
    """A layer, or a whole network, without ZAP and at an operating point.

    Parameters
    ----------
    name : str
    ofm : tuple of int
        Shape of the ofm; empty for a whole network.
    macs : int
    zap : bool
        Whether it has a ZAP at the operating point.
    skipped, lost : float
        Shares of the ofm: of its activations, skipped; of their sum, skipped although not zero.
    cycles, energy, traffic : (without ZAP, at the operating point)
        In cycles, pJ and bytes.
    """

    name: str
    ofm: tuple[int, ...]
    macs: int
    zap: bool
    skipped: float
    lost: float
    cycles: tuple[float, float]
    traffic: tuple[int, int]
    energy: tuple[float, float]

    @property
    def speed_up(self) -> float:
        """Cycles without ZAP / cycles with it."""
        return self.cycles[0] / self.cycles[1]


@cache
def network_costs(network: Observation, config: Config) -> NetworkCosts:
    """Return the costs of a network on a core: its layers are lowered once for all sections."""
    return NetworkCosts(network.bundle, config)


def layer_costs(network: Observation, costs: NetworkCosts, point: str) -> list[LayerCost]:
    """Return the costs of the layers that fit, in order."""
    counted = {layer.name: layer for layer in network.points[point].layers}
    skips = _skips(network, costs, point)
    patterns = {name: pattern for name, (pattern, _) in skips.items()}
    cycles, beats = [costs.cycles(), costs.cycles(skips)], [costs.beats(), costs.beats(patterns)]
    config, shapes = costs.config, costs.shapes
    layers = []
    for step in costs.steps:
        name = step.name
        if name not in cycles[0]:
            continue
        whole = int(np.prod(step.conv.output_size(*shapes[step.input][1:])))
        whole *= len(step.conv.weight)
        share = skips[name][1] if name in skips else 0.0
        traffic = [(b[name].read + b[name].written) * config.bus_bytes for b in beats]
        energies = [
            sum(
                activity_energy(
                    config,
                    [
                        Activity(
                            busy=run[name].busy,
                            results=whole * (1 - skipped),
                            scored=whole if scored else 0,
                            moved=moved,
                        )
                    ],
                ).values()
            )
            for run, skipped, scored, moved in zip(
                cycles, (0.0, share), (False, name in skips), traffic, strict=True
            )
        ]
        layers.append(
            LayerCost(
                name=name,
                ofm=shapes[step.output],
                macs=step.macs,
                zap=name in skips,
                skipped=share,
                lost=counted[name].lost if name in skips else 0.0,
                cycles=(cycles[0][name].elapsed, cycles[1][name].elapsed),
                traffic=(traffic[0], traffic[1]),
                energy=(energies[0], energies[1]),
            )
        )
    return layers


def whole_cost(layers: Sequence[LayerCost]) -> LayerCost:
    """Return the sum over all layers; shares of a whole network are not told."""

    def both(field: str) -> tuple[float, float]:
        pairs = [getattr(layer, field) for layer in layers]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    traffic = both("traffic")
    return LayerCost(
        name="all",
        ofm=(),
        macs=sum(layer.macs for layer in layers),
        zap=True,
        skipped=float("nan"),
        lost=float("nan"),
        cycles=both("cycles"),
        traffic=(int(traffic[0]), int(traffic[1])),
        energy=both("energy"),
    )


def _skips(network: Observation, costs: NetworkCosts, point: str) -> Skips:
    """Return what an operating point skips, in the layers that fit with their ZAP."""
    _, predictors = network.bundle.at(point)
    skipped = {layer.name: layer.skipped_share for layer in network.points[point].layers}
    return {
        name: (zap.pattern, skipped[name])
        for name, zap in predictors.items()
        if costs.zap_misfit(name, zap.pattern) is None
    }
