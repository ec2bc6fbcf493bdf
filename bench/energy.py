"""A first-order model of energy: the core's counts times published energies of operations.

Energies are of a 45 nm process at 0.9 V, from M. Horowitz, "Computing's Energy Problem (and what we
can do about it)", ISSCC 2014, figure 1.1.9: 8-bit add 0.03 pJ, 8-bit multiply 0.2 pJ, 32-bit add
0.1 pJ, 8 KiB SRAM 10 pJ and 32 KiB SRAM 20 pJ for 64 bits, DRAM 1.3 to 2.6 nJ for 64 bits.

It tells how much of the energy skipping can save and where the rest goes. It cannot tell the energy
of an FPGA or of another process: it leaves out clocks, wires, control and leakage, and a DRAM's
energy also depends on how it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.measure import MeasuredLayer
from hw.contract.config import Config

__all__ = ["Activity", "Energy", "activity_energy", "energy"]

Energy = dict[str, float]
"""Part of the core -> pJ."""

_MULTIPLY, _ADD = 0.2, 0.1
"""An 8-bit multiplication; an addition to a 32-bit sum."""
_SRAM = 20 / 8
"""A byte read or written, in a memory of 32 KiB."""
_SMALL_SRAM = 10 / 8
"""A byte read or written, in one of 8 KiB: ofm and residual banks, the predictor's lines."""
_DRAM = 1300 / 8
"""A byte read or written; the lower of the two values given."""
_PREDICTOR_MACS = 18
"""MACs for each score: two 3x3 kernels."""
_PREDICTOR_BYTES = 8
"""Bytes for each score: each kernel reads and writes two lines."""


@dataclass(frozen=True)
class Activity:
    """The work of a layer's run.

    Parameters
    ----------
    busy : float
        Cycles in which the array multiplies.
    results, scored : float
        Activations that are computed, and those of which the predictor sees a position.
    moved : float
        Bytes read from memory and written to it.
    """

    busy: float
    results: float
    scored: float
    moved: float


def energy(config: Config, layers: Sequence[MeasuredLayer], which: str) -> Energy:
    """Return the energy of some layers; `which` names a run: `off`, `on` or `idle`."""
    return activity_energy(config, [_counted(config, getattr(layer, which)) for layer in layers])


def activity_energy(config: Config, activities: Sequence[Activity]) -> Energy:
    """Return the energy of what some layers do."""
    total = dict.fromkeys(("arithmetic", "on chip", "predictor", "off chip"), 0.0)
    for layer in activities:
        # Each busy cycle reads one word of weights, and one word of ifm for each PE.
        total["arithmetic"] += layer.busy * config.multipliers * (_MULTIPLY + _ADD)
        total["on chip"] += layer.busy * config.lanes * (1 + config.pes) * _SRAM
        total["on chip"] += layer.results * _SMALL_SRAM + layer.moved * _SRAM
        total["predictor"] += layer.scored * _PREDICTOR_MACS * (_MULTIPLY + _ADD)
        total["predictor"] += layer.scored * _PREDICTOR_BYTES * _SMALL_SRAM
        total["off chip"] += layer.moved * _DRAM
    return total


def _counted(config: Config, counters: Mapping[str, int]) -> Activity:
    """The work that a core's counters tell."""
    results = counters["computed"] + counters["kept"]
    return Activity(
        busy=counters["busy"],
        results=results,
        scored=results + counters["skipped"] if counters["skipped"] + counters["kept"] else 0,
        moved=(counters["beats_read"] + counters["beats_written"]) * config.bus_bytes,
    )
