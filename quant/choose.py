"""Operating points from budgets: name what may be lost or must be saved, get the thresholds.

    python -m quant.choose BUNDLE --dataset NAME --data DIR --max-drop 0.5 1 2 --out DIR
    python -m quant.choose BUNDLE --dataset NAME --data DIR --mac-reduction 0.2 0.3 --out DIR
    python -m quant.choose BUNDLE --dataset NAME --data DIR --sigma 0.1 --pattern B --out DIR

Statistics of training images say what each layer loses and saves at each threshold; a few
measurements on other training images say how much accuracy a loss costs (section 3 of the paper).
A pattern for each layer and a threshold for each channel follow (or with --thresholds, fewer that
differ), before any is run on the test images,
which are looked at once for each operating point and only to report.

All points go into the one bundle OUT. With --recalibrate the network's biases and scales are
adapted to each (`quant.training.recalibration`), with --fine-tune its weights are too, and it loses
less; what was adapted is kept with the point, beside the network as it was.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from golden.bundle import Bundle, check_replaceable
from golden.errors import UserError
from golden.manifest import Figures
from golden.pattern import Pattern
from quant.data.images import ImageSet
from quant.data.registry import DATASETS, Dataset, load_for_bundle
from quant.frontend.lowering import lower
from quant.networks.model import Model, Recipe
from quant.networks.registry import registered_model
from quant.pipeline.budgeted_points import measured_line, network_as_chosen
from quant.points import results
from quant.points.alternatives import Choice, Granularity
from quant.points.chooser import Budget, Chooser
from quant.points.evaluation import evaluate
from quant.points.operating_points import add_operating_point, with_figures
from quant.points.statistics import collect_statistics
from quant.runtime import processes
from quant.runtime.options import parse_sigma
from quant.training.augmentation import augmented
from quant.training.fine_tuning import fine_tune

_STATISTICS_IMAGES = 1000
_RECALIBRATION_IMAGES = 1000
_FEWEST_IMAGES = 100
_METHODS = {
    Granularity.CHANNEL: "zap",
    Granularity.LAYER: "zap-per-layer",
    Granularity.UNIFORM: "zap-uniform",
}


def arguments() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m quant.choose", description=__doc__)
    add = parser.add_argument
    add("bundle", type=Path)
    add("--dataset", choices=sorted(DATASETS), default="digits")
    add("--data", type=Path, help="the dataset's folder or its parent")
    add("--max-drop", nargs="+", default=[], help="points of top-1 accuracy that may be lost")
    add("--mac-reduction", nargs="+", default=[], help="share of conv MACs to be skipped, 0 .. 1")
    add("--sigma", nargs="+", default=[], help="uniform thresholds, with one --pattern")
    add("--pattern", nargs="+", default=[], help="choose from these (default: all in the bundle)")
    add(
        "--thresholds",
        choices=[choice.value for choice in Granularity],
        default=Granularity.CHANNEL.value,
        help="what has its own (default: channel); uniform: all layers have the same pattern, too",
    )
    add(
        "--statistics-images",
        type=int,
        default=_STATISTICS_IMAGES,
        metavar="N",
        help=f"training images for statistics (default: {_STATISTICS_IMAGES})",
    )
    add(
        "--held-out",
        type=int,
        metavar="N",
        help="held-out images to measure losses on (default: all that there are)",
    )
    copies = "measure on N augmented copies of each: for a network that was trained on them"
    add("--augment-held-out", type=int, default=0, metavar="N", help=copies)
    add("--recalibrate", action="store_true", help="adapt biases and scales to each point")
    add("--fine-tune", type=int, default=0, metavar="EPOCHS", help="train the weights for each too")
    add("--seed", type=int, default=1)
    add("--device", choices=("cpu", "cuda"), default="cpu", help="what fine-tunes")
    add("--json", type=Path, help="add the results to this list of operating points")
    add("--out", type=Path, required=True, help="the new bundle's directory")
    return parser


def main() -> None:
    """The command line: the bundle with one operating point for each budget."""
    args = arguments().parse_args()
    processes.check_device(args.device)
    results.read(args.json)  # what cannot be added to is refused now
    check_replaceable(args.out)
    bundle = Bundle.load(args.bundle)
    budgets = _budgets(args)
    patterns = _patterns(bundle, args)
    names = _names(bundle, budgets, args)
    dropout = _dropout(bundle) if args.fine_tune else {}
    dataset = load_for_bundle(bundle, args.dataset, args.data)
    images = _Images(bundle, dataset, args)

    chooser = Chooser(
        collect_statistics(bundle, images.statistics), patterns, Granularity(args.thresholds)
    )
    line = None
    # What fine-tuning wins back is not foreseen, so a line may be of no use then.
    if not args.fine_tune or any(budget.option == "max-drop" for budget in budgets):
        line = measured_line(bundle, chooser, budgets, images.held_out, images.recalibration)
    # All are chosen before the first is run on the test images.
    choices = [chooser.choose(budget, line) for budget in budgets]
    whole = evaluate(bundle, {}, dataset.test, "dense")
    result = bundle
    rows = []
    for name, budget, chosen in zip(names, budgets, choices):
        network, predictors = network_as_chosen(bundle, chosen, images.recalibration)
        if args.fine_tune:
            network = fine_tune(
                network,
                predictors,
                dataset.train,
                _recipe(bundle),
                dropout=dropout,
                epochs=args.fine_tune,
                seed=args.seed,
                device=args.device,
            )
        figures = {
            "predicted": Figures(
                drop=None if line is None or args.fine_tune else line.drop_at(chosen.error),
                mac_reduction=chosen.mac_reduction,
                images=len(images.held_out),
            ),
            "measured": evaluate(network, predictors, dataset.test, name).figures(whole),
        }
        result = add_operating_point(result, name, chosen.layers, network)
        result = with_figures(result, name, figures)
        row = _row(args, bundle, budget, _pattern(chooser, chosen), whole.top1, figures)
        rows.append(row | {"error": chosen.error, "line": [] if line is None else line.corners})
    if processes.is_first():
        result.save(args.out)
    if args.json is not None:
        results.write(args.json, [*results.read(args.json), *rows])
    Console().print(_table(f"{bundle.manifest.name} on {dataset.name}", rows))
    Console().print(f"wrote {args.out}")


class _Images:
    """Which training images are used for what; the test images are for none of it.

    `statistics` are of those that the network was trained on, `held_out` of those that it was not,
    `recalibration` is augmented as in its training; None without --recalibrate.
    """

    def __init__(self, bundle: Bundle, dataset: Dataset, args: argparse.Namespace) -> None:
        self.statistics = _some(dataset.train, args.statistics_images, "--statistics-images")
        held_out = len(dataset.held_out) if args.held_out is None else args.held_out
        self.held_out = _some(dataset.held_out, held_out, "--held-out")
        generator = torch.Generator().manual_seed(args.seed)
        if args.augment_held_out:
            copies = args.augment_held_out
            self.held_out = augmented(self.held_out, _recipe(bundle), generator, copies)
        self.recalibration = None
        if args.recalibrate:
            few = dataset.train.sample(_RECALIBRATION_IMAGES, args.seed)
            self.recalibration = augmented(few, _recipe(bundle), generator)


def _model(bundle: Bundle) -> Model:
    """The built-in model that the bundle was made of."""
    return registered_model(bundle.manifest.provenance.get("model"))


def _recipe(bundle: Bundle) -> Recipe:
    """How the network was trained."""
    return _model(bundle).recipe


def _dropout(bundle: Bundle) -> dict[str, float]:
    """The share of its input that training sets to zero, for each layer that has dropout."""
    manifest = bundle.manifest
    module = _model(bundle).build(len(manifest.classes))
    return lower(module, manifest.activations[manifest.input.tensor].shape).dropout()


def _some(image_set: ImageSet, count: int, option: str) -> ImageSet:
    """The first so many images."""
    if count < _FEWEST_IMAGES:
        raise UserError(f"{option} {count}: at least {_FEWEST_IMAGES} images are needed")
    if count > len(image_set):
        raise UserError(f"{option} {count}: there are only {len(image_set)} such images")
    return image_set.first(count)


def _budgets(args: argparse.Namespace) -> list[Budget]:
    """What is asked for, all positive but the thresholds."""
    budgets = []
    for option, limit in (("max-drop", 100.0), ("mac-reduction", 1.0)):
        for text in getattr(args, option.replace("-", "_")):
            value = _number(text)
            if not 0 < value <= limit:
                raise UserError(f"--{option} {text} is not a number in 0 .. {limit:g}")
            budgets.append(Budget(option, value))
    budgets += [Budget("sigma", parse_sigma(text)) for text in args.sigma]
    if not budgets:
        raise UserError("nothing to choose for: give --max-drop, --mac-reduction or --sigma")
    if args.sigma and len(args.pattern) != 1:
        raise UserError("--sigma sets all layers alike: give the one --pattern that it is for")
    return budgets


def _number(text: str) -> float:
    """NaN where it is none, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _patterns(bundle: Bundle, args: argparse.Namespace) -> list[Pattern]:
    """Those named, or all that the bundle has predictors for."""
    known = dict.fromkeys(Pattern.parse(n.pattern) for n in bundle.manifest.predictors.values())
    if not known:
        raise UserError("the bundle has no predictors; write one with quant/export.py")
    for text in args.pattern:
        if Pattern.parse(text) not in known:
            raise UserError(f"the bundle has no predictor for pattern {text}")
    return [Pattern.parse(text) for text in args.pattern] or list(known)


def _names(bundle: Bundle, budgets: Sequence[Budget], args: argparse.Namespace) -> list[str]:
    """The new operating points' names, for example max-drop-0.5-uniform-B."""
    how = [
        *[args.thresholds] * (args.thresholds != Granularity.CHANNEL),
        *args.pattern,
        *["fine-tuned"] * bool(args.fine_tune),
    ]
    names = ["-".join([budget.option, f"{budget.value:g}", *how]) for budget in budgets]
    taken = {point.name for point in bundle.manifest.operating_points}
    for index, name in enumerate(names):
        if name in taken or name in names[:index]:
            raise UserError(f"there is an operating point {name!r} already; leave that budget out")
    return names


def _pattern(chooser: Chooser, chosen: Choice) -> str:
    """What was chosen where all layers have the same, else what was chosen from."""
    patterns = chooser.patterns
    if chooser.granularity is Granularity.UNIFORM:
        patterns = [pattern for pattern, _ in chosen.layers.values()]
    return "+".join(sorted({str(pattern) for pattern in patterns}))


def _row(
    args: argparse.Namespace,
    bundle: Bundle,
    budget: Budget,
    pattern: str,
    int8_top1: float,
    figures: dict[str, Figures],
) -> results.Result:
    """One operating point as `quant.points.results` keeps it."""
    predicted, measured = figures["predicted"], figures["measured"]
    thresholds = Granularity.UNIFORM if budget.option == "sigma" else Granularity(args.thresholds)
    return {
        "network": bundle.manifest.name,
        "dataset": args.dataset,
        "method": _METHODS[thresholds],
        "pattern": pattern,
        "budget": str(budget),
        "predicted_drop": predicted.drop,
        "drop": measured.drop,
        "predicted_mac_reduction": predicted.mac_reduction,
        "mac_reduction": measured.mac_reduction,
        "recalibrated": args.recalibrate,
        "fine_tuned": bool(args.fine_tune),
        "float_top1": bundle.manifest.provenance.get("float_top1"),
        "int8_top1": int8_top1,
        "top1": measured.top1,
        "images": measured.images,
        "command": results.command("quant.choose"),
    }


def _table(title: str, rows: Sequence[results.Result]) -> Table:
    table = Table("budget", title=title)
    for heading in ("predicted drop", "drop", "predicted MACs %", "MACs skipped %"):
        table.add_column(heading, justify="right")
    table.add_column("method")
    for row in rows:
        table.add_row(
            row["budget"],
            "" if row["predicted_drop"] is None else f"{row['predicted_drop']:.2f}",
            f"{row['drop']:.2f}",
            f"{100 * row['predicted_mac_reduction']:.2f}",
            f"{100 * row['mac_reduction']:.2f}",
            f"{row['method']} {row['pattern']}",
        )
    return table


if __name__ == "__main__":
    processes.run_parallel(main)
