"""`make bench`: how fast the core is, layer by layer, beside what bounds it and what others reach.

    python -m bench.speed [NAME ...] [--data DIR] [--scalesim PYTHON] [--out DIR] [--force]

Simulates the networks of `tb.runs.whole_networks` whose measurements are not in `build/bench` yet,
writes
`summary.json` (one object for each layer, and one for each network with `layer` null), a table and
charts, and copies of the measurements. Without names every network is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import scalesim
from bench.charts import draw
from bench.energy import Energy, energy
from bench.figures import (
    effective_macs,
    load_stall,
    mac_reduction,
    predictor_stall,
    skip_efficiency,
    speed_up,
    store_stall,
    utilisation,
)
from bench.measure import Layer, Measurement, load, measure, save
from compiler.build import compile_bundle
from compiler.cycles import layer_cycles
from compiler.program import DENSE
from golden.errors import UserError, run_cli
from hw.contract.config import PRESETS, Config
from tb.runs.progress import reporting
from tb.runs.whole_networks import NETWORKS

__all__ = ["predicted", "summarise"]

_BUILD = Path("build/bench")
_WIDTH = 175
"""Of the table, in characters."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.speed", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    add("--config", help=f"{', '.join(PRESETS)}, or a JSON file (default: the network's)")
    add("--data", type=Path, help="folder of the networks' datasets")
    add("--scalesim", type=Path, help="a python that has bench/requirements-scalesim.txt")
    most = "largest layer for SCALE-Sim (default: %(default)s); twice as many take twice as long"
    add("--scalesim-macs", type=int, default=scalesim.MOST_MACS, metavar="N", help=most)
    add("--out", type=Path, default=_BUILD, help="folder for summary, table and charts")
    add("--no-idle-lanes", action="store_true", help="leave that design point out")
    add("--force", action="store_true", help="simulate again")
    arguments = parser.parse_args()
    rows = []
    counted = arguments.out / "counted"
    for name in arguments.names or NETWORKS:
        if name not in NETWORKS:
            raise UserError(f"no network {name!r}; there are {', '.join(NETWORKS)}")
        example = NETWORKS[name]
        config = Config.load(arguments.config or example.config)
        file = _BUILD / f"{name}-{config.name}.json"
        if arguments.force or not file.exists():
            with reporting() as report:
                data, idle = arguments.data, not arguments.no_idle_lanes
                new = measure(name, example, config, data, report, idle_lanes=idle)
            save(new, _BUILD)
        measurement = load(file)
        save(measurement, counted)
        peer = scalesim.cycles(
            measurement, arguments.out, arguments.scalesim, arguments.scalesim_macs
        )
        rows += summarise(measurement, peer, predicted(measurement))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "summary.json").write_text(json.dumps(rows, indent=1) + "\n")
    with (arguments.out / "summary.txt").open("w") as file:
        for console in (Console(width=_WIDTH), Console(file=file, width=_WIDTH)):
            for network in dict.fromkeys(row["network"] for row in rows):
                console.print(_table([row for row in rows if row["network"] == network]))
            console.print(_energy_table([row for row in rows if row["layer"] is None]))
    draw(rows, arguments.out)
    print(arguments.out)


def predicted(measurement: Measurement) -> dict[str, tuple[float, float]]:
    """What the cycle model says of each layer, without and with ZAP, from the same skips."""
    bundle, point = NETWORKS[measurement.network].bundle()
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
    """The objects of `summary.json`: each layer, then all convolutions together.

    `peer` has SCALE-Sim's cycles, `model` those of `compiler.cycles`.
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
    }
    return [*rows, whole]


def _figures(
    measurement: Measurement, layers: Sequence[Layer], peer: Mapping[str, int]
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


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    whole = rows[-1]
    weights = "trained" if whole["trained"] else "random weights"
    title = f"{whole['network']} ({weights}, point {whole['point']}) on zapcore_{whole['config']}"
    table = Table(title=title)
    table.add_column("layer")
    cycles = ("ofm", "cycles off", "on", "model off", "on", "idle lanes", "limit", "SCALE-Sim")
    figures = ("U", "MACs saved", "E", "stall: pred.", "loads", "stores")
    for heading in (*cycles, *figures):
        table.add_column(heading, justify="right")
    for row in rows:
        if row["layer"] is None:
            table.add_section()
        table.add_row(
            row["layer"] or "convolutions",
            "x".join(map(str, row.get("ofm", []))),
            f"{row['cycles_off']:,}",
            f"{row['cycles_on']:,}",
            *(_error(row, which) for which in ("off", "on")),
            _count(row["cycles_idle_lanes"]),
            f"{row['limit_cycles']:,}",
            ("" if row["scalesim_cycles"] else "> ") + f"{row['scalesim_at_least']:,}",
            f"{row['utilisation']:.3f}",
            f"{100 * row['mac_reduction']:.1f} %",
            f"{row['skip_efficiency']:.3f}",
            *(f"{100 * row[f'{what}_stall']:.1f} %" for what in ("predictor", "load", "store")),
        )
    return table


def _energy_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="energy of the convolutions, first order (bench/energy.py), in µJ")
    table.add_column("network")
    parts = list(rows[0]["energy_off_uj"])
    for heading in (*parts, "total", "ZAP on / off"):
        table.add_column(heading, justify="right")
    for row in rows:
        off, on = row["energy_off_uj"], row["energy_on_uj"]
        totals = sum(off.values()), sum(on.values())
        table.add_row(
            row["network"],
            *(f"{off[part]:,.1f} -> {on[part]:,.1f}" for part in parts),
            f"{totals[0]:,.1f} -> {totals[1]:,.1f}",
            f"{totals[1] / totals[0]:.3f}",
        )
    return table


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _error(row: Mapping[str, Any], which: str) -> str:
    """How far the cycle model is off, of a layer."""
    if row["layer"] is None:
        return ""
    return f"{100 * (row[f'model_{which}'] / row[f'cycles_{which}'] - 1):+.1f} %"


if __name__ == "__main__":
    run_cli(main)
