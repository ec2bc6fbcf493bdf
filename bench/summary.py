"""Summary of what was measured: one object for each layer, and one for all convolutions together.

These are the objects of `summary.json`, from which tables and charts are made. Those of a network
also have figures of the whole of it, fully connected layers and poolings included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench import scalesim
from bench.energy import Energy, energy
from bench.figures import (
    effective_macs,
    frames_per_second,
    load_stall,
    mac_reduction,
    macs_per_dsp,
    predictor_stall,
    skip_efficiency,
    speed_up,
    store_stall,
    utilisation,
)
from bench.fpga_results import clock_of, find_build
from bench.measure import MeasuredLayer, Measurement
from compiler.build import compile_bundle
from compiler.cycles import layer_cycles
from compiler.program import DENSE
from hw.contract.config import Config
from tb.runs.whole_networks import WholeNetwork, find_network

__all__ = ["model_cycles", "summarise"]


def model_cycles(
    measurement: Measurement, source: WholeNetwork | None = None
) -> dict[str, tuple[float, float]]:
    """Return the cycles that the model expects of each layer, without ZAP and with the same skips.

    `source` is the network; None stands for the one that has the measurement's name. Raises
    UserError where the network's bundle can neither be read nor made.
    """
    bundle, point = (source or find_network(measurement.network)).load()
    program = compile_bundle(bundle, measurement.config, keep=True)
    kept = {
        layer.name: np.array(layer.kept) * layer.ofm[0] / (layer.on["kept"] + layer.on["skipped"])
        for layer in measurement.layers
        if layer.kept
    }
    off = layer_cycles(program, DENSE)
    on = layer_cycles(program, point, kept)
    return {name: (off[name].elapsed, on[name].elapsed) for name in off}


def summarise(
    measurement: Measurement,
    peer: Mapping[str, int],
    model: Mapping[str, tuple[float, float]],
) -> list[dict[str, Any]]:
    """Return the objects of `summary.json`: each layer, then all convolutions together.

    Parameters
    ----------
    measurement : Measurement
    peer : {layer: cycles}
        SCALE-Sim's; layers may be missing.
    model : {layer: (cycles without ZAP, with it)}
        Those of `model_cycles`.
    """
    rows = []
    for layer in measurement.layers:
        row = _figures(measurement, [layer], peer)
        off, on = model[layer.name]
        row |= {
            "layer": layer.name,
            "convolution": layer.convolution,
            "ofm": list(layer.ofm),
            "model_off": round(off),
            "model_on": round(on),
        }
        rows.append(row)
    convolutions = [layer for layer in measurement.layers if layer.convolution]
    whole = _figures(measurement, convolutions, peer)
    all_layers = measurement.layers
    whole |= {
        "layer": None,
        "all_layers_off": sum(layer.off["elapsed"] for layer in all_layers),
        "all_layers_on": sum(layer.on["elapsed"] for layer in all_layers),
        "whole_network": _whole_network(measurement),
    }
    return [*rows, whole]


def _whole_network(measurement: Measurement) -> dict[str, Any]:
    """Return the figures of all layers, at the clock of the core where it was placed.

    DSP blocks are known of a core that was placed and routed; of any other they are null, and the
    clock is assumed.
    """
    config, layers = measurement.config, measurement.layers
    build = find_build(config)
    clock = clock_of(build)
    runs = [layer.run for layer in layers]
    macs, skipped = sum(run.macs for run in runs), sum(run.skipped_macs for run in runs)
    off, on = sum(run.cycles_off for run in runs), sum(run.cycles_on for run in runs)
    figures: dict[str, Any] = {
        "macs": macs,
        "mac_reduction": _rounded(skipped / macs),
        "speed_up": _rounded(off / on),
        "utilisation": _rounded(utilisation(runs, config.multipliers)),
        "clock_mhz": clock,
        "device": None if build is None else build.device,
        "dsp": None if build is None else build.use.dsp,
        "frames_per_second_off": round(frames_per_second(clock, off), 2),
        "frames_per_second_on": round(frames_per_second(clock, on), 2),
    }
    for name, number, cycles in (
        ("off", macs, off),
        ("on", macs, on),
        ("on_computed", macs - skipped, on),
    ):
        figures[f"macs_per_dsp_{name}"] = (
            None if build is None else _rounded(macs_per_dsp(number, build.use.dsp, cycles))
        )
    for which in ("off", "on"):
        counters = [getattr(layer, which) for layer in layers]
        figures[f"bytes_{which}"] = _bytes(config, counters)
        figures[f"energy_{which}_uj"] = _energies(energy(config, layers, which))
    return figures


def _figures(
    measurement: Measurement, layers: Sequence[MeasuredLayer], peer: Mapping[str, int]
) -> dict[str, Any]:
    config = measurement.config
    runs = [layer.run for layer in layers]
    whole = all(layer.name in peer for layer in layers)
    least = sum(
        peer.get(layer.name) or scalesim.unstalled_cycles(config, layer) for layer in layers
    )
    off, on = (energy(config, layers, which) for which in ("off", "on"))
    remain = sum(run.macs - run.skipped_macs for run in runs)
    return {
        "config": config.name,
        "network": measurement.network,
        "trained": measurement.trained,
        "point": measurement.point,
        "macs": sum(run.macs for run in runs),
        "mac_reduction": _rounded(mac_reduction(runs)) if remain else 0.0,
        "cycles_off": sum(run.cycles_off for run in runs),
        "cycles_on": sum(run.cycles_on for run in runs),
        "cycles_idle_lanes": (
            sum(layer.idle["elapsed"] for layer in layers) if layers[0].idle else None
        ),
        "utilisation": _rounded(utilisation(runs, config.multipliers)),
        "skip_efficiency": _rounded(skip_efficiency(runs)) if remain else 1.0,
        "speed_up": _rounded(speed_up(runs)),
        "predictor_stall": _rounded(predictor_stall(runs)),
        "load_stall": _rounded(load_stall([layer.on for layer in layers])),
        "store_stall": _rounded(store_stall([layer.on for layer in layers])),
        "effective_macs": _rounded(effective_macs(runs, config.multipliers)),
        "bytes_off": _bytes(config, [layer.off for layer in layers]),
        "bytes_on": _bytes(config, [layer.on for layer in layers]),
        "scalesim_cycles": least if whole else None,
        "scalesim_at_least": least,
        "limit_cycles": round(remain / config.multipliers),
        "energy_off_uj": _energies(off),
        "energy_on_uj": _energies(on),
    }


def _bytes(config: Config, counters: Sequence[Mapping[str, int]]) -> int:
    beats = sum(counter["beats_read"] + counter["beats_written"] for counter in counters)
    return beats * config.bus_bytes


def _energies(parts: Energy) -> dict[str, float]:
    return {name: round(picojoules * 1e-6, 2) for name, picojoules in parts.items()}


def _rounded(value: float) -> float:
    return round(float(value), 4)
