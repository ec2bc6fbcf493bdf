"""Tells how well known images, made harder, stand in for images that a network has not seen.

    python -m bench.known_images BUNDLE --unseen-accuracy 91.7 [--error 0.03 0.1 0.2] [--json FILE]

For operating points of several sums of eps, it prints how many answers change and what is lost on
the held-out images as they are, on these images enlarged (`quant.pipeline.unseen_images`), and on
the test images. It is for networks that were trained on the held-out images.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from golden.arguments import Parser
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.terminal import Console
from quant.pipeline.budgeted_points import bundle_patterns, network_as_chosen
from quant.pipeline.bundle_images import add_image_options, images_of
from quant.pipeline.unseen_images import as_if_unseen
from quant.points.accounting import Evaluation
from quant.points.alternatives import Granularity
from quant.points.chooser import Chooser
from quant.points.evaluation import evaluate
from quant.points.expected_loss import ExpectedLoss, Loss, counted_loss
from quant.points.knapsack import best_within_error
from quant.points.statistics import collect_statistics
from quant.runtime.options import parse_number
from quant.runtime.outputs import check_outputs, write_json

__all__: list[str] = []

_ERRORS = ("0.03", "0.06", "0.12", "0.2")
_STATISTICS_IMAGES = 1000


@dataclass(frozen=True)
class Row:
    """The loss of an operating point on some images."""

    network: str
    images: str
    """`known`, `enlarged` or `test`."""
    count: int
    accuracy: float
    """Of the network without ZAP, in percent."""
    error: float
    """Sum of eps, by the statistics."""
    changed: float
    """Answers that are other ones with ZAP, in percent."""
    expected: Loss
    counted: Loss


def main() -> None:
    """Run the command line: print a row for each operating point and set of images."""
    parser = Parser(prog="python -m bench.known_images", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle's directory")
    add_image_options(parser)
    add("--unseen-accuracy", required=True, metavar="PERCENT", help="as for quant.choose")
    add("--error", nargs="+", default=_ERRORS, metavar="E", help="sums of eps")
    add("--json", type=Path, metavar="FILE", help="write the rows to this file too")
    args = parser.parse_args()
    check_outputs(args.json)
    accuracy = parse_number(args.unseen_accuracy, "--unseen-accuracy")
    if not 0 < accuracy < 100:
        raise UserError(f"--unseen-accuracy {args.unseen_accuracy} is not a number in 0 .. 100")
    errors = [parse_number(text, "--error") for text in args.error]
    bundle = Bundle.load(args.bundle)
    dataset = images_of(bundle, args).dataset
    if not dataset.labelled:
        raise UserError(f"--unseen-accuracy needs labels, {dataset.name} has none")
    statistics = collect_statistics(bundle, dataset.train.first(_STATISTICS_IMAGES))
    chooser = Chooser(statistics, bundle_patterns(bundle), Granularity.CHANNEL)
    sets = {
        "known": dataset.held_out,
        "enlarged": as_if_unseen(bundle, dataset.held_out, accuracy),
        "test": dataset.test,
    }
    dense = {name: evaluate(bundle, {}, images, name) for name, images in sets.items()}
    rows = []
    for error in errors:
        network, predictors = network_as_chosen(
            bundle, best_within_error(chooser.layers, error), None
        )
        for name, images in sets.items():
            found = evaluate(network, predictors, images, f"{name}, error {error:g}")
            rows.append(_row(bundle, name, error, dense[name], found))
    Console().print(_table(rows))
    if args.json is not None:
        write_json(args.json, [asdict(row) for row in rows])


def _row(bundle: Bundle, images: str, error: float, dense: Evaluation, found: Evaluation) -> Row:
    scale = bundle.manifest.activations[bundle.manifest.output].scale
    changed = dense.results.argmax(1) != found.results.argmax(1)
    return Row(
        network=bundle.manifest.name,
        images=images,
        count=len(dense.labels),
        accuracy=dense.top1,
        error=error,
        changed=100 * float(changed.double().mean()),
        expected=ExpectedLoss(dense.results, scale, dense.labels).of(found.results),
        counted=counted_loss(dense.results, found.results, dense.labels),
    )


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title=f"{rows[0].network}: known images, enlarged ones, and test images")
    table.add_column("sum of eps", justify="right")
    table.add_column("images", no_wrap=True)
    for heading in ("number", "top-1 %", "changed %", "expected loss", "counted loss"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row.error:g}",
            row.images,
            f"{row.count:,}",
            f"{row.accuracy:.2f}",
            f"{row.changed:.2f}",
            f"{row.expected.drop:.2f} ± {row.expected.deviation:.2f}",
            f"{row.counted.drop:.2f} ± {row.counted.deviation:.2f}",
        )
    return table


if __name__ == "__main__":
    run_cli(main)
