"""A first-order model of energy: what the core counted, times published energies of operations.

Energies are of a 45 nm process at 0.9 V, from M. Horowitz, "Computing's Energy Problem (and what we
can do about it)", ISSCC 2014, figure 1.1.9: 8-bit add 0.03 pJ, 8-bit multiply 0.2 pJ, 32-bit add
0.1 pJ, 8 KiB SRAM 10 pJ and 32 KiB SRAM 20 pJ for 64 bits, DRAM 1.3 to 2.6 nJ for 64 bits.

It tells how much of the energy a skip can save and where the rest goes. It cannot tell what an FPGA
or another process takes: neither clocks, wires and control nor leakage are in it (time is: fewer
cycles leak less), nor that a DRAM's energy depends on how it is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure import Layer
from hw.contract.config import Config

__all__ = ["Energy", "energy"]

Energy = dict[str, float]
"""Part of the core -> pJ."""

_MULTIPLY, _ADD = 0.2, 0.1
"""8 bits times 8 bits; into a sum of 32 bits."""
_SRAM = 20 / 8
"""A byte from or to a memory of 32 KiB."""
_SMALL_SRAM = 10 / 8
"""A byte from or to one of 8 KiB: ofm and residual banks, the predictor's lines."""
_DRAM = 1300 / 8
"""A byte: the cheaper end of what is given."""
_PREDICTOR_MACS = 18
"""Of a position: two 3x3 kernels."""
_PREDICTOR_BYTES = 8
"""Of a position: two lines read and written by each of them."""


def energy(config: Config, layers: Sequence[Layer], which: str) -> Energy:
    """Of some layers, `which` being one of the runs in `bench.measure.Layer`."""
    total = dict.fromkeys(("arithmetic", "on chip", "predictor", "off chip"), 0.0)
    for layer in layers:
        counters: dict[str, int] = getattr(layer, which)
        busy = counters["busy"]
        results = counters["computed"] + counters["kept"]
        scored = results + counters["skipped"] if counters["skipped"] + counters["kept"] else 0
        moved = (counters["beats_read"] + counters["beats_written"]) * config.bus_bytes
        # Each busy cycle reads a word of weights and one of ifm for each PE.
        total["arithmetic"] += busy * config.multipliers * (_MULTIPLY + _ADD)
        total["on chip"] += busy * config.lanes * (1 + config.pes) * _SRAM
        total["on chip"] += results * _SMALL_SRAM + moved * _SRAM
        total["predictor"] += scored * _PREDICTOR_MACS * (_MULTIPLY + _ADD)
        total["predictor"] += scored * _PREDICTOR_BYTES * _SMALL_SRAM
        total["off chip"] += moved * _DRAM
    return total
