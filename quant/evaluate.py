"""Measure the accuracy of a bundle's network, and the MACs that it skips.

    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --point NAME ...
    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --pattern A B --sigma 0 0.1 0.2
    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --value-prediction 2 3 4
    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --prune-epsilon 0 1 2

The last two run other systems than ZAP. Value prediction needs no predictors. Feature-map pruning
runs alone, and together with each of the given operating points and patterns. With none of these
options, all operating points of the bundle are run. `quant.points.accounting` says how
multiply-accumulates and loads are counted.

Where images have no labels, accuracy is the share of them that are classified as --model does, the
float network that the bundle was made of, or else as the bundle's network without ZAP does.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from golden.arguments import Parser, integer, positive
from golden.bundle import Bundle
from golden.terminal import Console
from quant.pipeline.bundle_images import add_image_options, images_of
from quant.points.results import check_list, write_points
from quant.points.sweep import Row, Run, measured_points, plan, sweep
from quant.runtime import processes
from quant.runtime.command_line import command_line
from quant.runtime.options import parse_sigma
from quant.runtime.outputs import check_outputs, write_json

_WINDOWS = (2, 16)
_EPSILONS = (0, 255)


def _arguments() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m quant.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle's directory")
    add_image_options(parser)
    add("--point", nargs="+", default=[], metavar="NAME", help="operating points of the bundle")
    add("--pattern", nargs="+", default=[], help="patterns, each for all layers, with --sigma")
    sigma = "thresholds, each for all layers, for --pattern (default: 0)"
    add("--sigma", nargs="+", default=["0"], help=sigma)
    window = "predict values in windows of K x K activations"
    windows = integer(*_WINDOWS)
    add("--value-prediction", type=windows, nargs="+", default=[], metavar="K", help=window)
    epsilon = (
        "prune feature maps whose values, in levels of 0 .. 255, are all within E of zero: in the "
        "network without ZAP, and at each --point and --pattern"
    )
    levels = integer(*_EPSILONS)
    add("--prune-epsilon", type=levels, nargs="+", default=[], metavar="E", help=epsilon)
    add("--images", type=positive, metavar="N", help="use only the first N test images")
    add("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    listed = "add the results of value prediction and pruning to this list of operating points"
    add("--results", type=Path, metavar="FILE", help=listed)
    return parser


def main() -> None:
    """Run the command line: print one row for each way to run the network."""
    args = _arguments().parse_args()
    check_outputs(args.json)
    check_list(args.results)
    bundle = Bundle.load(args.bundle)
    sigmas = [parse_sigma(text) for text in args.sigma]
    windows, epsilons = args.value_prediction, args.prune_epsilon
    points = args.point
    if not (points or args.pattern or windows or epsilons):
        points = [point.name for point in bundle.manifest.operating_points]
    runs = plan(bundle, points, args.pattern, sigmas, windows, epsilons)
    source = images_of(bundle, args)
    dataset = source.dataset
    rows = sweep(runs, dataset.test.first(args.images))
    title = f"{bundle.manifest.name} on {dataset.name}"
    Console().print(_table(title, source.measure, runs, rows))
    command = command_line("quant.evaluate")
    if args.json is not None:
        document = {
            "command": command,
            "network": bundle.manifest.name,
            "dataset": dataset.name,
            "provenance": bundle.manifest.provenance,
            "rows": [asdict(row) for row in rows],
        }
        write_json(args.json, document)
    if args.results is not None:
        write_points(args.results, measured_points(bundle, dataset.name, runs, rows, command))


def _table(title: str, measure: str, runs: Sequence[Run], rows: Sequence[Row]) -> Table:
    table = Table(title=title)
    table.add_column("run", no_wrap=True)
    figures = (measure, "drop", "MACs saved %", "but first %", "loads saved %", "wrong zeros %")
    for heading in figures:
        table.add_column(heading, justify="right")
    for run, row in zip(runs, rows):
        table.add_row(
            str(run),
            f"{row.top1:.2f}",
            f"{row.drop:.2f}",
            f"{100 * row.mac_reduction:.2f}",
            f"{100 * row.mac_reduction_without_first:.2f}",
            f"{100 * row.load_reduction:.2f}",
            f"{100 * row.wrong_share:.2f}",
        )
    return table


if __name__ == "__main__":
    processes.run_parallel(main)
