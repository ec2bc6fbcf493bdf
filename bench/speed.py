"""`make bench`: measures the core's speed layer by layer, beside bounds and a peer.

    python -m bench.speed [NAME ...] [--data DIR] [--scalesim PYTHON] [--out DIR] [--force]
    python -m bench.speed --bundle DIR [--point NAME] [--data DIR] [--image N|FILE] ...

Simulates those networks of `tb.runs.whole_networks` whose measurements are not in `build/bench`
yet. Writes `summary.json` (one object for each layer, and one with `layer` null for each network),
tables, charts, and copies of the measurements; the first table has whole networks. Without names
every network is measured. With --bundle it is the user's network, simulated anew each time.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import scalesim
from bench.charts import chart_files, draw_charts
from bench.measure import (
    Measurement,
    load_measurement,
    measure,
    measurement_file,
    save_measurement,
)
from bench.summary import model_cycles, summarise
from golden.arguments import Parser, positive
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.runs.images import add_image_options, chosen_input
from tb.runs.whole_networks import NETWORKS, WholeNetwork, find_network, network_of_bundle

__all__: list[str] = []

_BUILD = Path("build/bench")
_WIDTH = 175
"""The table's width in characters."""


def main() -> None:
    parser = Parser(prog="bench.speed", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    add("--config", help=f"{', '.join(PRESETS)}, or a JSON file (default: the network's)")
    add("--bundle", type=Path, metavar="DIR", help="measure the network of a bundle instead")
    add("--point", metavar="NAME", help="operating point of that bundle (default: the first)")
    add_image_options(parser)
    add("--scalesim", type=Path, help="a python that has bench/requirements-scalesim.txt")
    most = "largest layer for SCALE-Sim (default: %(default)s); twice as many take twice as long"
    add("--scalesim-macs", type=positive, default=scalesim.MOST_MACS, metavar="N", help=most)
    add("--out", type=Path, default=_BUILD, help="folder for summary, table and charts")
    add("--no-idle-lanes", action="store_true", help="do not measure a core without compaction")
    add("--force", action="store_true", help="simulate again")
    arguments = parser.parse_args()
    networks = _networks(arguments)
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
        kept = measurement_file(_BUILD, name, config)
        if arguments.bundle is None and kept.exists() and not arguments.force:
            measurement = load_measurement(kept)
        else:
            measurement = _measured(name, network, config, arguments)
            if arguments.bundle is None:
                save_measurement(measurement, _BUILD)
        save_measurement(measurement, counted)
        peer = scalesim.cycles(
            measurement, arguments.out, arguments.scalesim, arguments.scalesim_macs
        )
        rows += summarise(measurement, peer, model_cycles(measurement, network))
    write_file(summary, json.dumps(rows, indent=1) + "\n")
    text = StringIO()
    of_networks = [row for row in rows if row["layer"] is None]
    for console in (Console(width=_WIDTH), Console(file=text, width=_WIDTH)):
        console.print(_whole_table(of_networks))
        for name in networks:
            own = [row for row in rows if row["network"] == name]
            console.print(_table(own, own=arguments.bundle is not None))
        console.print(_energy_table(of_networks))
    write_file(table, text.getvalue())
    draw_charts(rows, arguments.out)
    print(arguments.out)


def _networks(arguments: Namespace) -> dict[str, WholeNetwork]:
    """Return the networks to measure, by name."""
    if arguments.bundle is None:
        if arguments.point is not None:
            raise UserError("--point is for a --bundle; networks that are named have theirs")
        return {name: find_network(name) for name in arguments.names or NETWORKS}
    if arguments.names:
        raise UserError(f"{arguments.names[0]}: give either names or a --bundle")
    return dict([network_of_bundle(arguments.bundle, arguments.point)])


def _measured(
    name: str, network: WholeNetwork, config: Config, arguments: Namespace
) -> Measurement:
    """Simulate a network."""
    bundle, _ = network.load()
    named = arguments.bundle is None
    pixels = chosen_input(bundle, arguments.data, arguments.image, textures=named)
    with reporting() as report:
        idle = not arguments.no_idle_lanes
        return measure(name, network, config, pixels, report, idle_lanes=idle)


def _table(rows: Sequence[Mapping[str, Any]], *, own: bool) -> Table:
    """Tabulate a network's layers; `own` is set for the user's network."""
    whole = rows[-1]
    weights = "its own weights" if own else "trained" if whole["trained"] else "random weights"
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


def _whole_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate whole networks, and their convolutions for comparison."""
    table = Table(title="whole networks, ZAP off -> on, one image at a time")
    table.add_column("network", no_wrap=True)
    headings = ("core", "cycles", "speed-up", "clock", "images a second", "MACs/DSP/cycle")
    for heading in (*headings, "no skips", "U", "convolutions alone", "speed-up"):
        table.add_column(heading, justify="right")
    for row in rows:
        whole = row["whole_network"]
        placed = whole["dsp"] is not None
        off, on, computed = (whole[f"macs_per_dsp_{name}"] for name in ("off", "on", "on_computed"))
        table.add_row(
            row["network"],
            row["config"],
            f"{row['all_layers_off']:,} -> {row['all_layers_on']:,}",
            f"{whole['speed_up']:.2f}",
            f"{whole['clock_mhz']:.1f} MHz" + ("" if placed else ", assumed"),
            f"{whole['frames_per_second_off']:,.2f} -> {whole['frames_per_second_on']:,.2f}",
            f"{off:.3f} -> {on:.3f}" if placed else "",
            f"{computed:.3f}" if placed else "",
            f"{whole['utilisation']:.3f}",
            f"{row['cycles_off']:,} -> {row['cycles_on']:,}",
            f"{row['speed_up']:.2f}",
        )
    return table


def _energy_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate the energy of whole networks, and the sum of their convolutions."""
    table = Table(title="energy, whole networks, first order (bench/energy.py), in µJ")
    table.add_column("network")
    parts = list(rows[0]["energy_off_uj"])
    for heading in (*parts, "total", "ZAP on / off", "convolutions", "ZAP on / off"):
        table.add_column(heading, justify="right")
    for row in rows:
        whole = row["whole_network"]
        off, on = whole["energy_off_uj"], whole["energy_on_uj"]
        of_convolutions = [sum(row[f"energy_{which}_uj"].values()) for which in ("off", "on")]
        totals = sum(off.values()), sum(on.values())
        table.add_row(
            row["network"],
            *(f"{off[part]:,.1f} -> {on[part]:,.1f}" for part in parts),
            f"{totals[0]:,.1f} -> {totals[1]:,.1f}",
            f"{totals[1] / totals[0]:.3f}",
            f"{of_convolutions[0]:,.1f} -> {of_convolutions[1]:,.1f}",
            f"{of_convolutions[1] / of_convolutions[0]:.3f}",
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
