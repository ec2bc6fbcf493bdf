"""A first-order model of energy: the core's counts times published energies of operations.

Energies are of a 45 nm process at 0.9 V, from M. Horowitz, "Computing's Energy Problem (and what we
can do about it)", ISSCC 2014, figure 1.1.9: 8-bit add 0.03 pJ, 8-bit multiply 0.2 pJ, 32-bit add
0.1 pJ, 8 KiB SRAM 10 pJ and 32 KiB SRAM 20 pJ for 64 bits, DRAM 1.3 to 2.6 nJ for 64 bits.

It tells how much of the energy skipping can save and where the rest goes. It cannot tell the energy
of an FPGA or of another process: it leaves out clocks, wires, control and leakage, and a DRAM's
energy also depends on how it is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure import MeasuredLayer
from hw.contract.config import Config

__all__ = ["Energy", "energy"]

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


def energy(config: Config, layers: Sequence[MeasuredLayer], which: str) -> Energy:
    """Return the energy of some layers; `which` names a run: `off`, `on` or `idle`."""
    total = dict.fromkeys(("arithmetic", "on chip", "predictor", "off chip"), 0.0)
    for layer in layers:
        counters: dict[str, int] = getattr(layer, which)
        busy = counters["busy"]
        results = counters["computed"] + counters["kept"]
        scored = results + counters["skipped"] if counters["skipped"] + counters["kept"] else 0
        moved = (counters["beats_read"] + counters["beats_written"]) * config.bus_bytes
        # Each busy cycle reads one word of weights, and one word of ifm for each PE.
        total["arithmetic"] += busy * config.multipliers * (_MULTIPLY + _ADD)
        total["on chip"] += busy * config.lanes * (1 + config.pes) * _SRAM
        total["on chip"] += results * _SMALL_SRAM + moved * _SRAM
        total["predictor"] += scored * _PREDICTOR_MACS * (_MULTIPLY + _ADD)
        total["predictor"] += scored * _PREDICTOR_BYTES * _SMALL_SRAM
        total["off chip"] += moved * _DRAM
    return total
