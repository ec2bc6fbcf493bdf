"""`make bench`: measures the core's speed layer by layer, beside bounds and a peer.

    python -m bench.speed [NAME ...] [--data DIR] [--scalesim PYTHON] [--out DIR] [--force]

Simulates those networks of `tb.runs.whole_networks` whose measurements are not in `build/bench`
yet. Writes `summary.json` (one object for each layer, and one with `layer` null for each network),
a table, charts, and copies of the measurements. Without names every network is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import scalesim
from bench.charts import chart_files, draw_charts
from bench.measure import load_measurement, measure, measurement_file, save_measurement
from bench.summary import model_cycles, summarise
from golden.arguments import Parser, positive
from golden.errors import run_cli
from golden.files import check_writable_file, write_file
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.runs.whole_networks import NETWORKS, find_network

__all__: list[str] = []

_BUILD = Path("build/bench")
_WIDTH = 175
"""The table's width in characters."""


def main() -> None:
    parser = Parser(prog="bench.speed", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    add("--config", help=f"{', '.join(PRESETS)}, or a JSON file (default: the network's)")
    add("--data", type=Path, help="folder of the networks' datasets")
    add("--scalesim", type=Path, help="a python that has bench/requirements-scalesim.txt")
    most = "largest layer for SCALE-Sim (default: %(default)s); twice as many take twice as long"
    add("--scalesim-macs", type=positive, default=scalesim.MOST_MACS, metavar="N", help=most)
    add("--out", type=Path, default=_BUILD, help="folder for summary, table and charts")
    add("--no-idle-lanes", action="store_true", help="do not measure a core without compaction")
    add("--force", action="store_true", help="simulate again")
    arguments = parser.parse_args()
    networks = {name: find_network(name) for name in arguments.names or NETWORKS}
    configs = {
        name: Config.load(arguments.config or network.config) for name, network in networks.items()
    }
    summary, table = arguments.out / "summary.json", arguments.out / "summary.txt"
    counted = arguments.out / "counted"
    for file in (
        *(measurement_file(counted, name, config) for name, config in configs.items()),
        *(summary, table, *chart_files(list(networks), arguments.out)),
    ):
        check_writable_file(file)
    rows = []
    for name, network in networks.items():
        config = configs[name]
        file = measurement_file(_BUILD, name, config)
        if arguments.force or not file.exists():
            with reporting() as report:
                data, idle = arguments.data, not arguments.no_idle_lanes
                new = measure(name, network, config, data, report, idle_lanes=idle)
            save_measurement(new, _BUILD)
        measurement = load_measurement(file)
        save_measurement(measurement, counted)
        peer = scalesim.cycles(
            measurement, arguments.out, arguments.scalesim, arguments.scalesim_macs
        )
        rows += summarise(measurement, peer, model_cycles(measurement))
    write_file(summary, json.dumps(rows, indent=1) + "\n")
    text = StringIO()
    for console in (Console(width=_WIDTH), Console(file=text, width=_WIDTH)):
        for name in networks:
            console.print(_table([row for row in rows if row["network"] == name]))
        console.print(_energy_table([row for row in rows if row["layer"] is None]))
    write_file(table, text.getvalue())
    draw_charts(rows, arguments.out)
    print(arguments.out)


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    whole = rows[-1]
    weights = "trained" if whole["trained"] else "random weights"
    run = f"{whole['network']} ({weights}, operating point {whole['point']})"
    title = f"{run} on zapcore_{whole['config']}"
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
    """Format the relative error of the cycle model for a layer."""
    if row["layer"] is None:
        return ""
    return f"{100 * (row[f'model_{which}'] / row[f'cycles_{which}'] - 1):+.1f} %"


if __name__ == "__main__":
    run_cli(main)
