"""Writes the report: one HTML page of measurements, and PNG, SVG and CSV files of its figures.

    python -m bench.report BUNDLE ... --data DIR --results docs/results/operating_points.json

The page begins with the networks of the bundles given, run on some images of their datasets: what
their operating points lose and gain, interactively, then cycles, energy and layers. Operating
points of other networks in the results file, and in the sweeps (`*_patterns.json`) beside it,
follow for comparison. Sections without data are left out, and named.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from bench.report import choice, cycles, layers, points, tradeoff, whole
from bench.report.observe import Observation, observe
from bench.report.page import PAGE, Part, write_page
from bench.report.points import LARGEST_DROP
from bench.report.table import table
from golden.arguments import Parser, positive
from golden.bundle import MANIFEST
from golden.errors import UserError, run_cli
from golden.files import check_writable_file
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.points.results import MeasuredPoint
from quant.runtime.command_line import command_line
from tb.runs.images import add_image_options

__all__ = ["main"]

_IMAGES = 500
_SPEED_SECTIONS = (choice.operating_points, whole.whole_networks, cycles.layer_cycles)
_RESULT_SECTIONS = (tradeoff.operating_points, tradeoff.estimates, tradeoff.line)
_NETWORK_SECTIONS = (layers.sparsity, layers.pictures, layers.scores, layers.mispredictions)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(prog="python -m bench.report", description=__doc__)
    add = parser.add_argument
    add("bundles", type=Path, nargs="*", metavar="BUNDLE")
    add_image_options(parser)
    add("--config", default="default", help=f"{', '.join(PRESETS)}, or a JSON file")
    add("--point", help="operating point of the bundles (default: the first of each)")
    add("--images", type=positive, default=_IMAGES, help=f"of each dataset (default: {_IMAGES})")
    results = Path("docs/results/operating_points.json")
    add(
        "--results",
        type=Path,
        default=results,
        help=f"measured operating points (default: {results})",
    )
    add("--out", type=Path, default=Path("build/report"), help="default: build/report")
    return parser


def main() -> None:
    args = arguments().parse_args()
    check_writable_file(args.out / PAGE)
    config = Config.load(args.config)
    skipped: list[str] = []
    measured = _measured(args.results, skipped)
    networks = _networks(args, skipped)
    parts = _parts(networks, measured, config)
    if not parts:
        raise UserError(f"nothing to report: {'; '.join(skipped)}")
    for part in parts:
        for section in part.sections:
            if not section.exhibits:
                skipped.append(f"{section.title}: no network has figures for it")
    page = write_page(
        args.out,
        title="What skipping predicted zeros saves and costs",
        command=command_line("bench.report"),
        parts=[
            Part(part.title, [section for section in part.sections if section.exhibits])
            for part in parts
        ],
        skipped=skipped,
    )
    console = Console()
    if measured:
        console.print(_errors(measured))
    for line in skipped:
        console.print(f"skipped: {line}", soft_wrap=True, highlight=False)
    console.print(f"wrote {page}", soft_wrap=True, highlight=False)


def _parts(
    networks: Sequence[Observation], measured: Sequence[MeasuredPoint], config: Config
) -> list[Part]:
    """Divide the page: first the bundles' networks, then other results for comparison."""
    names = {network.name for network in networks}
    own = [point for point in measured if point.network in names]
    others = [point for point in measured if point.network not in names]
    parts = []
    if networks:
        sections = [make(networks, config) for make in _SPEED_SECTIONS]
        sections += [make(own) for make in _RESULT_SECTIONS if own]
        sections += [make(networks) for make in _NETWORK_SECTIONS]
        parts.append(Part(", ".join(network.where for network in networks), sections))
    if measured:
        sections = [table(measured), *(make(others) for make in _RESULT_SECTIONS if others)]
        parts.append(Part("For comparison" if networks else "", sections))
    return parts


def _measured(file: Path, skipped: list[str]) -> list[MeasuredPoint]:
    """Read the operating points; note it in `skipped` if there are none."""
    measured = points.read(file)
    if not measured:
        skipped.append(f"{file}: no operating points there; quant.choose --json makes some")
    return measured


def _networks(args: argparse.Namespace, skipped: list[str]) -> list[Observation]:
    """Run the bundles that can be run; note the others in `skipped`."""
    networks = []
    for path in args.bundles:
        if not (path / MANIFEST).is_file():
            skipped.append(f"{path}: no bundle there; write one with quant/export.py")
            continue
        try:
            networks.append(observe(path, args.data, args.point, args.images, args.image))
        except UserError as error:
            skipped.append(f"{path}: {error}")
    return networks


def _errors(measured: Sequence[MeasuredPoint]) -> Table:
    """Tabulate how far estimates are from measurements, for each network and over all."""
    title = f"mean error of the estimates, operating points that lose at most {LARGEST_DROP:g} pp"
    sheet = Table("network", title=title)
    for heading in ("operating points", "top-1, pp", "MAC reduction, pp"):
        sheet.add_column(heading, justify="right")
    groups = {**points.by_network(measured), "all": list(measured)}
    for where, group in groups.items():
        found = points.estimate(group)
        if found is not None:
            shares = (f"{found.drop:.3f}", f"{100 * found.mac_reduction:.3f}")
            sheet.add_row(where, str(found.points), *shares)
    return sheet


if __name__ == "__main__":
    run_cli(main)
