"""What a bundle's network gets right and what it skips: the one home of accuracy figures.

    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --point NAME ...
    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --pattern A B --sigma 0 0.1 0.2
    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --value-prediction 2 3 4
    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --prune-epsilon 0 1 2

The last two are the systems that ZAP stands beside: `quant.baselines.value_prediction` needs no
predictors,
`quant.baselines.feature_map_pruning` runs alone and with each of the given points and patterns.
`quant.points.accounting` says how multiply-accumulates and loads are counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from golden.bundle import Bundle
from quant.data.registry import DATASETS, Dataset, load_for_bundle
from quant.points import results
from quant.points.sweep import Row, Run, plan, sweep
from quant.runtime import processes
from quant.runtime.options import parse_integer, parse_sigma

_WINDOWS = (2, 16)
_EPSILONS = (0, 255)


def _table(title: str, runs: Sequence[Run], rows: Sequence[Row]) -> Table:
    table = Table(title=title)
    table.add_column("run", no_wrap=True)
    figures = ("top-1 %", "drop", "MACs saved %", "but first %", "loads saved %", "wrong zeros %")
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


def _results(
    bundle: Bundle, dataset: Dataset, runs: Sequence[Run], rows: Sequence[Row]
) -> list[results.Result]:
    """The runs with value prediction or pruning as `quant.points.results` keeps them.

    ZAP by itself is `quant.choose`'s to record, with what it predicted.
    """
    return [
        {
            "network": bundle.manifest.name,
            "dataset": dataset.name,
            "method": run.method,
            "pattern": run.pattern,
            "budget": run.budget,
            "window": run.window,
            "epsilon": run.epsilon,
            "predicted_drop": None,
            "drop": row.drop,
            "predicted_mac_reduction": None,
            "mac_reduction": row.mac_reduction,
            "load_reduction": row.load_reduction,
            "recalibrated": "multiplier" in run.adapted,
            "fine_tuned": "weight" in run.adapted,
            "float_top1": bundle.manifest.provenance.get("float_top1"),
            "int8_top1": rows[0].top1,
            "top1": row.top1,
            "images": row.images,
            "command": results.command("quant.evaluate"),
        }
        for run, row in zip(runs, rows)
        if run.window is not None or run.epsilon is not None
    ]


def arguments() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m quant.evaluate", description=__doc__)
    add = parser.add_argument
    add("bundle", type=Path)
    add("--dataset", choices=sorted(DATASETS), default="digits")
    add("--data", type=Path, help="the dataset's folder or its parent")
    add("--point", nargs="+", default=[], help="operating points of the bundle")
    add("--pattern", nargs="+", default=[], help="uniform patterns, with --sigma")
    add("--sigma", nargs="+", default=["0"], help="uniform thresholds")
    window = "predict values in windows of K x K activations"
    add("--value-prediction", nargs="+", default=[], metavar="K", help=window)
    epsilon = "prune feature maps within E levels of zero, of 255; also at the points and patterns"
    add("--prune-epsilon", nargs="+", default=[], metavar="E", help=epsilon)
    add("--images", type=int, help="only the first so many held-out images")
    add("--json", type=Path, help="write the rows to this file too")
    listed = "add value prediction and pruning to this list of operating points"
    add("--results", type=Path, metavar="FILE", help=listed)
    return parser


def main() -> None:
    """The command line."""
    args = arguments().parse_args()
    results.read(args.results)  # what cannot be added to is refused now
    bundle = Bundle.load(args.bundle)
    sigmas = [parse_sigma(text) for text in args.sigma]
    windows = [parse_integer(t, "--value-prediction", *_WINDOWS) for t in args.value_prediction]
    epsilons = [parse_integer(t, "--prune-epsilon", *_EPSILONS) for t in args.prune_epsilon]
    points = args.point
    if not (points or args.pattern or windows or epsilons):
        points = [point.name for point in bundle.manifest.operating_points]
    runs = plan(bundle, points, args.pattern, sigmas, windows, epsilons)
    dataset = load_for_bundle(bundle, args.dataset, args.data)
    rows = sweep(runs, dataset.test.first(args.images))
    Console().print(_table(f"{bundle.manifest.name} on {dataset.name}", runs, rows))
    if args.json is not None:
        document = {
            "command": results.command("quant.evaluate"),
            "network": bundle.manifest.name,
            "dataset": dataset.name,
            "provenance": bundle.manifest.provenance,
            "rows": [asdict(row) for row in rows],
        }
        results.write_json(args.json, document)
    if args.results is not None:
        listed = _results(bundle, dataset, runs, rows)
        results.write(args.results, [*results.read(args.results), *listed])


if __name__ == "__main__":
    processes.run_parallel(main)
