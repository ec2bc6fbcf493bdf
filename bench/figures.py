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
    "frames_per_second",
    "load_stall",
    "mac_reduction",
    "macs_per_dsp",
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
        Activations of the ofm, and how many of them ZAP skipped.
    cycles_off, cycles_on : int
        Cycles from the start until the last word has left.
    wait_predictor : int
        Cycles with ZAP in which the array waits for scores.
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
    """Return U = MACs / (multipliers * cycles), ZAP off; 1 is every lane busy in every cycle."""
    return sum(run.macs for run in runs) / (multipliers * sum(run.cycles_off for run in runs))


def mac_reduction(runs: Sequence[LayerRun]) -> float:
    """Return skipped MACs / all MACs."""
    return sum(run.skipped_macs for run in runs) / sum(run.macs for run in runs)


def skip_efficiency(runs: Sequence[LayerRun]) -> float:
    """Return E = cycles off * (1 - MAC reduction) / cycles on; 1 is the full promised speed-up."""
    promised = sum(run.cycles_off for run in runs) * (1 - mac_reduction(runs))
    return promised / sum(run.cycles_on for run in runs)


def predictor_stall(runs: Sequence[LayerRun]) -> float:
    """Return cycles in which the array waits for scores / all cycles, ZAP on."""
    return sum(run.wait_predictor for run in runs) / sum(run.cycles_on for run in runs)


def speed_up(runs: Sequence[LayerRun]) -> float:
    """Return cycles with ZAP off / cycles with ZAP on."""
    return sum(run.cycles_off for run in runs) / sum(run.cycles_on for run in runs)


def effective_macs(runs: Sequence[LayerRun], multipliers: int) -> float:
    """Return MACs for each multiplier and cycle with ZAP on; skipped MACs count too."""
    return sum(run.macs for run in runs) / (multipliers * sum(run.cycles_on for run in runs))


def macs_per_dsp(macs: float, dsps: int, cycles: float) -> float:
    """Return MACs for each DSP block and cycle, the figure that other accelerators publish too.

    `dsps` are those of the whole core, the predictor's included. `macs` may count those that ZAP
    skips, or leave them out: whoever shows the figure says which.
    """
    return macs / (dsps * cycles)


def frames_per_second(clock_mhz: float, cycles: float) -> float:
    """Return images a second where one image after the other takes so many cycles."""
    return clock_mhz * 1e6 / cycles


def load_stall(counters: Sequence[Mapping[str, int]]) -> float:
    """Return cycles in which nothing is computed because data are missing / all cycles.

    These are the cycles in which an ifm is loaded and nothing runs beside it, and those in which
    the array waits for records or residual. The wait for the memory's answer to a tile's last store
    is counted too, and so are the cycles from there to the start of the next tile.

    `counters` has the `hw.contract.counters.CORE_COUNTERS` of each layer.
    """
    stalls = sum(c["elapsed"] - c["cycles"] + c["wait_loads"] for c in counters)
    return stalls / sum(c["elapsed"] for c in counters)


def store_stall(counters: Sequence[Mapping[str, int]]) -> float:
    """Return cycles in which the array waits for an ofm bank to become free / all cycles."""
    return sum(c["wait_ofm"] for c in counters) / sum(c["elapsed"] for c in counters)
