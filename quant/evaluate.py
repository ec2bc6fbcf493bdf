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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.table import Table

from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Predictor
from golden.manifest import ConvNode
from golden.network import Network, quantise_images
from golden.pattern import Pattern
from quant.baselines.feature_map_pruning import FeatureMapPruning
from quant.baselines.value_prediction import ValuePrediction
from quant.data.registry import DATASETS, Dataset, Split, load
from quant.points import results
from quant.points.accounting import Evaluation, LayerTally
from quant.runtime import processes
from quant.runtime.batch_size import batch_size
from quant.runtime.options import parse_integer, parse_sigma
from quant.runtime.progress import progress
from quant.runtime.threads import suit_threads

__all__ = ["evaluate", "load_for", "run_network"]

_WINDOWS = (2, 16)
_EPSILONS = (0, 255)


def evaluate(
    bundle: Bundle,
    predictors: Mapping[str, Predictor],
    split: Split,
    label: str = "evaluating",
    *,
    window: int | None = None,
    epsilon: int | None = None,
) -> Evaluation:
    """Run a split through the integer network, with ZAP in the layers that `predictors` names.

    Or, given a `window` and no predictors, with value prediction. Given an `epsilon`, feature maps
    are pruned too.
    """
    return run_network(_network(bundle, predictors, window, epsilon), split, label, epsilon=epsilon)


def run_network(
    network: Network, split: Split, label: str = "evaluating", *, epsilon: int | None = None
) -> Evaluation:
    """Run a split through a network, whatever that skips; `epsilon` as it prunes feature maps.

    Of several processes (`quant.runtime.processes`), each runs its share, and gets the result of
    all.
    """
    bundle = network.bundle
    split = split[processes.share()]
    result = Evaluation()
    tallies: dict[str, LayerTally] = {}
    size = batch_size(bundle)
    for pixels, labels in progress(split.batches(size), -(-len(split) // size), label):
        for step in network.steps(quantise_images(bundle, pixels)):
            if isinstance(step.node, ConvNode) and not step.node.fully_connected:
                name = step.node.name
                if name not in tallies:
                    macs = bundle.conv(step.node).macs(*step.ifm.shape[2:])
                    tallies[name] = LayerTally(name, macs, step.predictor is not None)
                tallies[name].count(step, epsilon)
            if step.node.output == bundle.manifest.output:
                result.correct += int((step.ofm.flatten(1).argmax(1) == labels).sum())
        result.images += len(labels)
    result.layers = list(tallies.values())
    return sum(processes.gathered(result), Evaluation())


def load_for(bundle: Bundle, name: str, directory: Path | None) -> Dataset:
    """A dataset to run a bundle's network on, with as many threads as suit its images.

    Raises UserError where it cannot be read, or its images or classes are not the network's.
    """
    dataset = load(name, directory)
    suit_threads(dataset.shape)
    shape = bundle.manifest.activations[bundle.manifest.input.tensor].shape
    if shape != dataset.shape:
        raise UserError(f"{dataset.name} has images of {dataset.shape}, the network takes {shape}")
    if len(bundle.manifest.classes) != len(dataset.classes):
        raise UserError(
            f"{dataset.name} has {len(dataset.classes)} classes, "
            f"the network has {len(bundle.manifest.classes)}"
        )
    return dataset


def _network(
    bundle: Bundle, predictors: Mapping[str, Predictor], window: int | None, epsilon: int | None
) -> Network:
    assert window is None or not predictors
    network = Network(bundle, predictors) if window is None else ValuePrediction(bundle, window)
    return network if epsilon is None else FeatureMapPruning(network, epsilon)


@dataclass(frozen=True)
class Run:
    """One way to run a bundle's network."""

    point: str
    """An operating point, a pattern, `dense` or `value-prediction`."""
    network: Bundle
    predictors: Mapping[str, Predictor] = field(default_factory=dict)
    adapted: frozenset[str] = frozenset()
    """Fields of layers, `weight` for example, that the operating point has of its own."""
    sigma: float | None = None
    """The threshold of all layers, where all have the same."""
    window: int | None = None
    """Of value prediction."""
    epsilon: int | None = None
    """Of feature-map pruning, in levels."""

    def __str__(self) -> str:
        """For example `B sigma 0.1 epsilon 1`."""
        return " ".join([self.point, *self._options()])

    @property
    def method(self) -> str:
        """What skips, for example `zap+feature-map-pruning`."""
        parts = {
            "zap": bool(self.predictors),
            "value-prediction": self.window is not None,
            "feature-map-pruning": self.epsilon is not None,
        }
        return "+".join(part for part in parts if parts[part]) or "dense"

    @property
    def pattern(self) -> str | None:
        """Of the predictors, several joined by +; None where there are none."""
        patterns = {str(predictor.pattern) for predictor in self.predictors.values()}
        return "+".join(sorted(patterns)) or None

    @property
    def budget(self) -> str:
        """What sets how much is skipped, for example `sigma 0.1 epsilon 1`."""
        named = [self.point] if self.predictors and self.sigma is None else []
        return " ".join([*named, *self._options()])

    def _options(self) -> list[str]:
        values = {name: getattr(self, name) for name in ("sigma", "window", "epsilon")}
        return [f"{name} {value:g}" for name, value in values.items() if value is not None]


@dataclass(frozen=True)
class Row:
    """One line of the table: a run and what came of it."""

    point: str
    sigma: float | None
    window: int | None
    epsilon: int | None
    top1: float
    drop: float
    mac_reduction: float
    mac_reduction_without_first: float
    load_reduction: float
    wrong_share: float
    images: int


def plan(
    bundle: Bundle,
    points: Sequence[str],
    patterns: Sequence[str],
    sigmas: Sequence[float],
    windows: Sequence[int],
    epsilons: Sequence[int],
) -> list[Run]:
    """The dense network, each operating point, each pattern with each threshold.

    Then each of these with each epsilon, and each window size.
    """
    runs = [Run("dense", bundle)]
    for name in points:
        adapted = frozenset(chain(*bundle.operating_point(name).adapted.values()))
        runs.append(Run(name, *bundle.at(name), adapted=adapted))
    for text in patterns:
        pattern = Pattern.parse(text)
        for sigma in sigmas:
            predictors = bundle.uniform(pattern, sigma)
            if not predictors:
                raise UserError(f"the bundle has no predictor for pattern {text}")
            runs.append(Run(str(pattern), bundle, predictors, sigma=sigma))
    runs += [replace(run, epsilon=epsilon) for epsilon in epsilons for run in runs]
    return runs + [Run("value-prediction", bundle, window=window) for window in windows]


def sweep(runs: Sequence[Run], split: Split) -> list[Row]:
    """Evaluate each; the first is what the others' drop is measured from."""
    rows: list[Row] = []
    for run in runs:
        result = evaluate(
            run.network, run.predictors, split, str(run), window=run.window, epsilon=run.epsilon
        )
        rows.append(
            Row(
                point=run.point,
                sigma=run.sigma,
                window=run.window,
                epsilon=run.epsilon,
                top1=result.top1,
                drop=rows[0].top1 - result.top1 if rows else 0,
                mac_reduction=result.mac_reduction,
                mac_reduction_without_first=result.mac_reduction_without_first,
                load_reduction=result.load_reduction,
                wrong_share=result.wrong_share,
                images=result.images,
            )
        )
    return rows


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
    dataset = load_for(bundle, args.dataset, args.data)
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
