"""The figures of merit, each defined once.

All are computed from the hardware's own counters; `macs` are those of the whole layer, padding
included, whatever was skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "LayerRun",
    "effective_macs",
    "load_stall",
    "mac_reduction",
    "predictor_stall",
    "skip_efficiency",
    "speed_up",
    "store_stall",
    "utilisation",
]


@dataclass(frozen=True)
class LayerRun:
    """One convolution, run without and with ZAP on the same input.

    Parameters
    ----------
    macs : int
        Multiply-accumulates of the whole ofm.
    activations, skipped : int
        Of the ofm, and how many of them ZAP skipped.
    cycles_off, cycles_on : int
        From start to the last word's departure.
    wait_predictor : int
        Of `cycles_on`, those that the array spent waiting for scores.
    """

    macs: int
    activations: int
    skipped: int
    cycles_off: int
    cycles_on: int
    wait_predictor: int

    @property
    def skipped_macs(self) -> float:
        """MACs that ZAP saved."""
        return self.macs * self.skipped / self.activations


def utilisation(runs: Sequence[LayerRun], multipliers: int) -> float:
    """U: MACs / (multipliers * cycles) with ZAP off; 1 is every lane busy in every cycle."""
    return sum(run.macs for run in runs) / (multipliers * sum(run.cycles_off for run in runs))


def mac_reduction(runs: Sequence[LayerRun]) -> float:
    """Skipped MACs / all MACs."""
    return sum(run.skipped_macs for run in runs) / sum(run.macs for run in runs)


def skip_efficiency(runs: Sequence[LayerRun]) -> float:
    """E: cycles off * (1 - MAC reduction) / cycles on; 1 is all of the promised speed-up."""
    promised = sum(run.cycles_off for run in runs) * (1 - mac_reduction(runs))
    return promised / sum(run.cycles_on for run in runs)


def predictor_stall(runs: Sequence[LayerRun]) -> float:
    """Cycles in which the array waited for scores / all cycles with ZAP on."""
    return sum(run.wait_predictor for run in runs) / sum(run.cycles_on for run in runs)


def speed_up(runs: Sequence[LayerRun]) -> float:
    """Cycles with ZAP off / cycles with ZAP on."""
    return sum(run.cycles_off for run in runs) / sum(run.cycles_on for run in runs)


def effective_macs(runs: Sequence[LayerRun], multipliers: int) -> float:
    """MACs of the whole layers for each multiplier and cycle with ZAP on; skipped ones count."""
    return sum(run.macs for run in runs) / (multipliers * sum(run.cycles_on for run in runs))


def load_stall(counters: Sequence[Mapping[str, int]]) -> float:
    """Cycles in which nothing is computed for want of data / all cycles.

    That is while an ifm is loaded that nothing hides, or the array waits for records or residual;
    the memory's answer to a tile's last store, and the cycles from there to the next tile's start,
    are counted with it. `counters` are those of `hw.contract.counters.CORE_COUNTERS`, one for each
    layer.
    """
    stalls = sum(c["elapsed"] - c["cycles"] + c["wait_loads"] for c in counters)
    return stalls / sum(c["elapsed"] for c in counters)


def store_stall(counters: Sequence[Mapping[str, int]]) -> float:
    """Cycles in which the array waits for an ofm bank to leave / all cycles."""
    return sum(c["wait_ofm"] for c in counters) / sum(c["elapsed"] for c in counters)
