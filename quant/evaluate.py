"""What a bundle's network gets right and what its ZAPs save: the one home of accuracy accounting.

    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --point NAME ...
    python -m quant.evaluate BUNDLE --dataset NAME --data DIR --pattern A B --sigma 0 0.1 0.2

MAC reduction is the share of skipped multiply-accumulates in those of all convolutions, the first
layer included and fully connected layers not (stated also without the first layer).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.layers import Predictor
from golden.manifest import ConvNode, Figures
from golden.network import Network, Step, quantise_images
from golden.pattern import Pattern
from quant.choices import parse_sigma
from quant.data import DATASETS, Dataset, Split, load
from quant.progress import progress
from quant.threads import suit_threads

__all__ = ["Evaluation", "LayerTally", "evaluate"]

_BATCH = 125


@dataclass
class LayerTally:
    """What one convolution did, summed over all images."""

    name: str
    macs: int
    """Multiply-accumulates of one whole ofm."""
    zap: bool
    """It ran with a predictor."""
    activations: int = 0
    kept: int = 0
    skipped: int = 0
    wrong: int = 0
    """Skipped although the activation would have been positive."""

    @property
    def skipped_share(self) -> float:
        """Of all activations."""
        return self.skipped / self.activations

    @property
    def wrong_share(self) -> float:
        """Of the skipped activations."""
        return self.wrong / self.skipped if self.skipped else 0.0


@dataclass
class Evaluation:
    """A network's result on a number of images; `layers` are its convolutions in order."""

    images: int = 0
    correct: int = 0
    layers: list[LayerTally] = field(default_factory=list)

    @property
    def top1(self) -> float:
        """Accuracy in percent."""
        return 100 * self.correct / self.images

    @property
    def mac_reduction(self) -> float:
        """Skipped MACs / MACs of all convolutions."""
        return _reduction(self.layers)

    @property
    def mac_reduction_without_first(self) -> float:
        """Skipped MACs / MACs of all convolutions but the first."""
        return _reduction(self.layers[1:])

    @property
    def wrong_share(self) -> float:
        """Wrongly skipped activations / skipped activations."""
        skipped = sum(layer.skipped for layer in self.layers)
        return sum(layer.wrong for layer in self.layers) / skipped if skipped else 0.0

    def figures(self, dense: Evaluation) -> Figures:
        """As an operating point records them, against the same network without ZAP."""
        return Figures(
            top1=self.top1,
            drop=dense.top1 - self.top1,
            mac_reduction=self.mac_reduction,
            images=self.images,
        )


def evaluate(
    bundle: Bundle, predictors: Mapping[str, Predictor], split: Split, label: str = "evaluating"
) -> Evaluation:
    """Run a split through the integer network, with ZAP in the layers that `predictors` names."""
    network = Network(bundle, predictors)
    result = Evaluation()
    tallies: dict[str, LayerTally] = {}
    batches = -(-len(split) // _BATCH)
    for pixels, labels in progress(split.batches(_BATCH), batches, label):
        for step in network.steps(quantise_images(bundle, pixels)):
            if isinstance(step.node, ConvNode) and not step.node.fully_connected:
                name = step.node.name
                if name not in tallies:
                    macs = bundle.conv(step.node).macs(*step.ifm.shape[2:])
                    tallies[name] = LayerTally(name, macs, step.predictor is not None)
                _count(tallies[name], step)
            if step.node.output == bundle.manifest.output:
                result.correct += int((step.ofm.flatten(1).argmax(1) == labels).sum())
        result.images += len(labels)
    result.layers = list(tallies.values())
    return result


def check_fits(bundle: Bundle, dataset: Dataset) -> None:
    """Raise UserError where the images or classes are not those of the bundle's network."""
    shape = bundle.manifest.activations[bundle.manifest.input.tensor].shape
    if shape != dataset.shape:
        raise UserError(f"{dataset.name} has images of {dataset.shape}, the network takes {shape}")
    if len(bundle.manifest.classes) != len(dataset.classes):
        raise UserError(
            f"{dataset.name} has {len(dataset.classes)} classes, "
            f"the network has {len(bundle.manifest.classes)}"
        )


def _reduction(layers: list[LayerTally]) -> float:
    total = sum(layer.macs for layer in layers)
    return sum(layer.macs * layer.skipped_share for layer in layers) / total


def _count(tally: LayerTally, step: Step) -> None:
    assert step.result is not None
    counters = step.result.counters
    tally.activations += counters.total
    tally.kept += counters.kept
    tally.skipped += counters.skipped
    tally.wrong += int((~step.result.keep & (step.result.dense > 0)).sum())


@dataclass(frozen=True)
class Row:
    """One line of the table: an operating point, or a pattern and a threshold for all layers."""

    point: str
    sigma: float | None
    top1: float
    drop: float
    mac_reduction: float
    mac_reduction_without_first: float
    wrong_share: float
    images: int


Run = tuple[str, float | None, Bundle, dict[str, Predictor]]
"""Name of the point or pattern, its uniform threshold if it has one, network and predictors."""


def plan(
    bundle: Bundle, points: Sequence[str], patterns: Sequence[str], sigmas: Sequence[float]
) -> list[Run]:
    """The dense network, then each operating point, then each pattern with each threshold."""
    runs: list[Run] = [("dense", None, bundle, {})]
    for name in points:
        runs.append((name, None, *bundle.at(name)))
    for text in patterns:
        pattern = Pattern.parse(text)
        for sigma in sigmas:
            predictors = bundle.uniform(pattern, sigma)
            if not predictors:
                raise UserError(f"the bundle has no predictor for pattern {text}")
            runs.append((str(pattern), sigma, bundle, predictors))
    return runs


def sweep(runs: Sequence[Run], split: Split) -> list[Row]:
    """Evaluate each; the first is what the others' drop is measured from."""
    rows: list[Row] = []
    for point, threshold, network, predictors in runs:
        label = point if threshold is None else f"{point} sigma {threshold:g}"
        result = evaluate(network, predictors, split, label)
        rows.append(
            Row(
                point=point,
                sigma=threshold,
                top1=result.top1,
                drop=rows[0].top1 - result.top1 if rows else 0,
                mac_reduction=result.mac_reduction,
                mac_reduction_without_first=result.mac_reduction_without_first,
                wrong_share=result.wrong_share,
                images=result.images,
            )
        )
    return rows


def _table(title: str, rows: list[Row]) -> Table:
    table = Table("point", "sigma", "top-1 %", "drop", "MACs skipped %", title=title)
    for heading in ("without first layer %", "wrong share of skipped %"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            row.point,
            "" if row.sigma is None else f"{row.sigma:g}",
            f"{row.top1:.2f}",
            f"{row.drop:.2f}",
            f"{100 * row.mac_reduction:.2f}",
            f"{100 * row.mac_reduction_without_first:.2f}",
            f"{100 * row.wrong_share:.2f}",
        )
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m quant.evaluate", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="digits")
    parser.add_argument("--data", type=Path, help="the dataset's folder or its parent")
    parser.add_argument("--point", nargs="+", default=[], help="operating points of the bundle")
    parser.add_argument("--pattern", nargs="+", default=[], help="uniform patterns, with --sigma")
    parser.add_argument("--sigma", nargs="+", default=["0"], help="uniform thresholds")
    parser.add_argument("--images", type=int, help="only the first so many held-out images")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    args = parser.parse_args()
    bundle = Bundle.load(args.bundle)
    points = args.point
    if not points and not args.pattern:
        points = [point.name for point in bundle.manifest.operating_points]
    runs = plan(bundle, points, args.pattern, [parse_sigma(text) for text in args.sigma])
    dataset = load(args.dataset, args.data)
    suit_threads(dataset.shape)
    check_fits(bundle, dataset)
    rows = sweep(runs, dataset.test.first(args.images))
    Console().print(_table(f"{bundle.manifest.name} on {dataset.name}", rows))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "command": shlex.join(["python", "-m", "quant.evaluate", *sys.argv[1:]]),
            "network": bundle.manifest.name,
            "dataset": dataset.name,
            "provenance": bundle.manifest.provenance,
            "rows": [asdict(row) for row in rows],
        }
        args.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    run_cli(main)
