"""Choose operating points by budgets: name what may be lost or must be saved, get the thresholds.

    python -m quant.choose BUNDLE --dataset NAME --data DIR --max-drop 0.5 1 2 --out DIR
    python -m quant.choose BUNDLE --dataset NAME --data DIR --mac-reduction 0.2 0.3 --out DIR
    python -m quant.choose BUNDLE --dataset NAME --data DIR --sigma 0.1 --pattern B --out DIR
    python -m quant.choose BUNDLE --costs FILE --max-drop 1 --speed-up 1.3 --out DIR

Statistics of training images tell what each layer loses and saves at each threshold. A few
measurements on other training images tell how much accuracy a loss costs (paper, section 3). From
these follow a pattern for each layer and a threshold for each channel; --thresholds sets coarser
thresholds. All is chosen before anything is run on the test images, which are used once for each
operating point, and only to report.

With --costs, the file that `python -m compiler BUNDLE --config CONFIG --costs FILE` writes,
thresholds save as many cycles as they can in place of MACs. A layer that its ZAP would slow on that
core runs without it, and the bundle says so.

All operating points go into one new bundle. With --recalibrate the network's biases and scales are
adapted to each operating point, with --fine-tune its weights too; the network then loses less. The
adapted values are kept with the operating point, and the original network stays in the bundle.
Training alone may make a network better: --control trains it as long without ZAPs, and lists what
that gains beside the operating points.

Where images have no labels, accuracy is the share of them that are classified as --model does, the
float network that the bundle was made of, or else as the bundle's network without ZAP does.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.table import Table

from golden.arguments import Parser, integer, natural, seed_number
from golden.bundle import Bundle, check_replaceable
from golden.costs import read_costs
from golden.errors import UserError
from golden.layers import Predictor
from golden.manifest import Figures
from golden.pattern import Pattern
from golden.terminal import Console
from quant.data.images import ImageSet
from quant.pipeline.budgeted_points import (
    ChoiceImages,
    MeasuredLine,
    bundle_patterns,
    measured_line,
    network_as_chosen,
)
from quant.pipeline.bundle_images import BundleImages, add_image_options, images_of
from quant.pipeline.unseen_images import as_if_unseen
from quant.points.accounting import Evaluation
from quant.points.alternatives import Choice, Granularity
from quant.points.chooser import Budget, Chooser
from quant.points.cycle_savings import CycleSavings
from quant.points.evaluation import evaluate
from quant.points.operating_points import (
    add_operating_point,
    with_figures,
    with_time_choice,
)
from quant.points.results import MeasuredPoint, check_list, write_points
from quant.points.statistics import collect_statistics
from quant.runtime import processes
from quant.runtime.command_line import command_line
from quant.runtime.options import parse_sigma
from quant.training.augmentation import augmented_copies
from quant.training.fine_tuning import fine_tune

_STATISTICS_IMAGES = 1000
_RECALIBRATION_IMAGES = 1000
_FEWEST_IMAGES = 100
_MOST_HELD_OUT = 10_000
"""So many are enough: their standard error is that of most test sets."""
_FASTEST = 100.0
"""No speed-up that is asked for is larger."""
_METHODS = {
    Granularity.CHANNEL: "zap",
    Granularity.LAYER: "zap-per-layer",
    Granularity.UNIFORM: "zap-uniform",
}


def _arguments() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m quant.choose",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle's directory")
    add_image_options(parser)
    drop = "percentage points of top-1 accuracy that may be lost"
    add("--max-drop", nargs="+", default=[], metavar="PP", help=drop)
    share = "share of the conv MACs that must be skipped, 0 .. 1"
    add("--mac-reduction", nargs="+", default=[], metavar="SHARE", help=share)
    faster = "how many times as fast the network must become, more than 1; needs --costs"
    add("--speed-up", nargs="+", default=[], metavar="TIMES", help=faster)
    costs = "save cycles, by this file of python -m compiler --costs (default: save MACs)"
    add("--costs", type=Path, metavar="FILE", help=costs)
    sigma = "thresholds, each for all layers; needs exactly one --pattern"
    add("--sigma", nargs="+", default=[], help=sigma)
    pattern = "patterns to choose from (default: all that the bundle has predictors for)"
    add("--pattern", nargs="+", default=[], help=pattern)
    add(
        "--thresholds",
        choices=[choice.value for choice in Granularity],
        default=Granularity.CHANNEL.value,
        help="what has its own threshold (default: channel); with uniform, all layers have the "
        "same threshold and the same pattern",
    )
    add(
        "--statistics-images",
        type=integer(_FEWEST_IMAGES),
        metavar="N",
        help=f"training images to collect statistics on (default: up to {_STATISTICS_IMAGES})",
    )
    held_out = f"held-out training images to measure losses on (default: up to {_MOST_HELD_OUT:,})"
    add("--held-out", type=integer(_FEWEST_IMAGES), metavar="N", help=held_out)
    copies = "measure on N augmented copies of each held-out image, where these are few"
    add("--augment-held-out", type=natural, default=0, metavar="N", help=copies)
    unseen = (
        "for a network that was trained on the held-out images too: its accuracy on other images; "
        "held-out images are enlarged until the network is no more accurate than that"
    )
    add("--unseen-accuracy", type=_accuracy, metavar="PERCENT", help=unseen)
    recalibrate = "adapt biases and scales to each operating point"
    add("--recalibrate", action="store_true", help=recalibrate)
    fine_tune = "train the weights with each operating point's ZAPs for so many epochs"
    add("--fine-tune", type=natural, default=0, metavar="EPOCHS", help=fine_tune)
    control = "with --fine-tune: also train so many epochs without ZAPs, and list what that gains"
    add("--control", action="store_true", help=control)
    add("--seed", type=seed_number, default=1, help="of samples and augmentation (default: 1)")
    device = "the device that fine-tunes (default: cpu)"
    add("--device", choices=("cpu", "cuda"), default="cpu", help=device)
    listed = "add the results to this list of operating points"
    add("--json", type=Path, metavar="FILE", help=listed)
    add("--out", type=Path, required=True, metavar="DIR", help="the new bundle's directory")
    return parser


def main() -> None:
    """Run the command line: write the bundle with one more operating point for each budget."""
    args = _arguments().parse_args()
    processes.check_device(args.device)
    check_list(args.json)
    check_replaceable(args.out)
    bundle = Bundle.load(args.bundle)
    budgets = _budgets(args)
    patterns = _patterns(bundle, args)
    names = _names(bundle, budgets, args)
    cycles = None
    if args.costs is not None:
        cycles = CycleSavings(read_costs(args.costs, bundle.manifest.name))
    source = images_of(bundle, args)
    _check_options(source, args)
    images = _images(source, args)

    statistics = collect_statistics(bundle, images.statistics)
    chooser = Chooser(statistics, patterns, Granularity(args.thresholds), cycles)
    for budget in budgets:
        if budget.option != "max-drop":  # what is out of reach is said before long evaluations
            chooser.choose(budget, None)
    line = _line(bundle, chooser, budgets, images, args)
    # All are chosen before the first is run on the test images.
    choices = [chooser.choose(budget, None if line is None else line.line) for budget in budgets]
    dense = evaluate(bundle, {}, source.dataset.test, "dense")
    result, measured = bundle, []
    for name, budget, choice in zip(names, budgets, choices):
        network, figures = _tested(bundle, name, choice, line, dense, images, source, args)
        result = add_operating_point(result, name, choice.layers, network)
        result = with_figures(result, name, figures)
        if cycles is not None:
            result = with_time_choice(result, name, cycles, choice)
        measured.append(
            _measured(args, bundle, source, budget, chooser, choice, line, dense.top1, figures)
        )
    if args.control:
        measured.append(_control(args, bundle, source, dense))
    if processes.is_first():
        result.save(args.out)
    if args.json is not None:
        write_points(args.json, measured)
    Console().print(_table(f"{bundle.manifest.name} on {source.dataset.name}", measured))
    for name in names if cycles is not None else []:
        _print_time_choice(result, name)
    Console().print(f"wrote {args.out}")


def _check_options(source: BundleImages, args: argparse.Namespace) -> None:
    """Raise UserError if the options do not fit each other or the images."""
    dataset = source.dataset
    if args.control and not args.fine_tune:
        raise UserError("--control is trained as long as the operating points: give --fine-tune")
    if args.fine_tune and not dataset.labelled:
        raise UserError(f"--fine-tune needs labels, {dataset.name} has none: use --recalibrate")
    if args.unseen_accuracy is not None and not dataset.labelled:
        raise UserError(f"--unseen-accuracy needs labels, {dataset.name} has none: leave it out")


def _line(
    bundle: Bundle,
    chooser: Chooser,
    budgets: Sequence[Budget],
    images: ChoiceImages,
    args: argparse.Namespace,
) -> MeasuredLine | None:
    """Measure the accuracy-error line, or return None where nothing is chosen or told by it."""
    # The line does not predict what fine-tuning gains, so only a budget of accuracy needs it then.
    if args.fine_tune and all(budget.option != "max-drop" for budget in budgets):
        return None
    if args.unseen_accuracy is not None:
        harder = as_if_unseen(bundle, images.held_out, args.unseen_accuracy)
        images = replace(images, held_out=harder)
    return measured_line(bundle, chooser, budgets, images)


def _tested(
    bundle: Bundle,
    name: str,
    choice: Choice,
    line: MeasuredLine | None,
    dense: Evaluation,
    images: ChoiceImages,
    source: BundleImages,
    args: argparse.Namespace,
) -> tuple[Bundle, dict[str, Figures]]:
    """Run a choice on the test images; return its network, and its figures by their field."""
    network, predictors = network_as_chosen(bundle, choice, images.recalibration)
    if args.fine_tune:
        network = _fine_tuned(network, predictors, source, args)
    expected = None if args.fine_tune else line
    predicted = Figures(
        drop=None if expected is None else expected.line.drop_at(choice.error),
        deviation=None if expected is None else expected.deviation_at(choice.error),
        mac_reduction=choice.mac_reduction,
        images=len(images.held_out),
    )
    measured = evaluate(network, predictors, source.dataset.test, name).figures(dense)
    return network, {"predicted": predicted, "measured": measured}


def _fine_tuned(
    network: Bundle,
    predictors: Mapping[str, Predictor],
    source: BundleImages,
    args: argparse.Namespace,
) -> Bundle:
    """Train a network for the epochs that are asked for, with the ZAPs given active."""
    return fine_tune(
        network,
        predictors,
        source.dataset.train,
        source.recipe,
        dropout=source.dropout,
        epochs=args.fine_tune,
        seed=args.seed,
        device=args.device,
    )


def _images(source: BundleImages, args: argparse.Namespace) -> ChoiceImages:
    """Take the training images that the options ask for.

    Where the network knows the held-out images, it knows all others as well: losses are measured on
    those too that neither statistics nor recalibration see.
    """
    dataset, recipe = source.dataset, source.recipe
    count = args.statistics_images or min(_STATISTICS_IMAGES, len(dataset.train))
    statistics = _some(dataset.train, count, "--statistics-images")
    held_out, for_recalibration = dataset.held_out, dataset.train
    if args.unseen_accuracy is not None:
        held_out, for_recalibration = (held_out + dataset.train[count:]), statistics
    count = min(_MOST_HELD_OUT, len(held_out)) if args.held_out is None else args.held_out
    held_out = _some(held_out, count, "--held-out")
    generator = torch.Generator().manual_seed(args.seed)
    if args.augment_held_out:
        held_out = augmented_copies(held_out, recipe, generator, args.augment_held_out)
    recalibration = None
    if args.recalibrate:
        few = for_recalibration.sample(_RECALIBRATION_IMAGES, args.seed)
        recalibration = augmented_copies(few, recipe, generator)
    return ChoiceImages(statistics, held_out, recalibration)


def _some(image_set: ImageSet, count: int, option: str) -> ImageSet:
    """Return the first `count` images."""
    if count > len(image_set):
        raise UserError(f"{option} {count}: there are only {len(image_set)} such images")
    return image_set.first(count)


def _budgets(args: argparse.Namespace) -> list[Budget]:
    """Return the budgets that the options set. All but thresholds are positive."""
    budgets = []
    for option, limit in (("max-drop", 100.0), ("mac-reduction", 1.0)):
        for text in getattr(args, option.replace("-", "_")):
            value = _number(text)
            if not 0 < value <= limit:
                raise UserError(f"--{option} {text} is not a number in 0 .. {limit:g}")
            budgets.append(Budget(option, value))
    for text in args.speed_up:
        value = _number(text)
        if not 1 < value <= _FASTEST:
            raise UserError(f"--speed-up {text} is not a number in 1 .. {_FASTEST:g}")
        budgets.append(Budget("speed-up", value))
    if args.speed_up and args.costs is None:
        raise UserError("--speed-up needs --costs, which python -m compiler BUNDLE --costs writes")
    if args.mac_reduction and args.costs is not None:
        raise UserError("--mac-reduction goes without --costs: name a --speed-up instead")
    budgets += [Budget("sigma", parse_sigma(text)) for text in args.sigma]
    if not budgets:
        raise UserError(
            "nothing to choose for: give --max-drop, --mac-reduction, --speed-up or --sigma"
        )
    if args.sigma and len(args.pattern) != 1:
        raise UserError("--sigma sets all layers alike: give the one --pattern that it is for")
    return budgets


def _number(text: str) -> float:
    """Parse a number; NaN, which is in no range, stands for anything else."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _accuracy(text: str) -> float:
    value = _number(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text} is not a number in 0 .. 100")
    return value


def _patterns(bundle: Bundle, args: argparse.Namespace) -> list[Pattern]:
    """Return the given patterns, or all that the bundle has predictors for."""
    known = bundle_patterns(bundle)
    if not known:
        raise UserError("the bundle has no predictors; write one with quant/export.py")
    for text in args.pattern:
        if Pattern.parse(text) not in known:
            raise UserError(f"the bundle has no predictor for pattern {text}")
    return [Pattern.parse(text) for text in args.pattern] or known


def _names(bundle: Bundle, budgets: Sequence[Budget], args: argparse.Namespace) -> list[str]:
    """Return the names of the new operating points, for example max-drop-0.5-uniform-B."""
    how = [
        *[args.thresholds] * (args.thresholds != Granularity.CHANNEL),
        *args.pattern,
        *["by-time"] * (args.costs is not None),
        *["fine-tuned"] * bool(args.fine_tune),
    ]
    names = ["-".join([budget.option, f"{budget.value:g}", *how]) for budget in budgets]
    taken = {point.name for point in bundle.manifest.operating_points}
    for index, name in enumerate(names):
        if name in taken or name in names[:index]:
            raise UserError(f"there is an operating point {name!r} already; leave that budget out")
    return names


def _pattern(chooser: Chooser, choice: Choice) -> str:
    """Return the chosen pattern if all layers have the same, else the patterns chosen from."""
    patterns = chooser.patterns
    if chooser.granularity is Granularity.UNIFORM:
        patterns = [pattern for pattern, _ in choice.layers.values()]
    return "+".join(sorted({str(pattern) for pattern in patterns}))


def _measured(
    args: argparse.Namespace,
    bundle: Bundle,
    source: BundleImages,
    budget: Budget,
    chooser: Chooser,
    choice: Choice,
    line: MeasuredLine | None,
    int8_top1: float,
    figures: dict[str, Figures],
) -> MeasuredPoint:
    """Return one operating point as an entry of the list of results."""
    predicted, measured = figures["predicted"], figures["measured"]
    uniform = budget.option == "sigma"
    granularity = Granularity.UNIFORM if uniform else Granularity(args.thresholds)
    return MeasuredPoint.model_validate(
        {
            "network": bundle.manifest.name,
            "dataset": source.dataset.name,
            "method": _METHODS[granularity],
            "pattern": _pattern(chooser, choice),
            "budget": str(budget),
            "predicted_drop": predicted.drop,
            "predicted_deviation": predicted.deviation,
            "drop": measured.drop,
            "deviation": measured.deviation,
            "predicted_mac_reduction": predicted.mac_reduction,
            "mac_reduction": measured.mac_reduction,
            "recalibrated": args.recalibrate,
            "fine_tuned": bool(args.fine_tune),
            "float_top1": bundle.manifest.provenance.get("float_top1"),
            "int8_top1": int8_top1,
            "top1": measured.top1,
            "images": measured.images,
            "command": command_line("quant.choose"),
            "error": choice.error,
            "line": [] if line is None else line.line.corners,
        }
    )


def _control(
    args: argparse.Namespace, bundle: Bundle, source: BundleImages, dense: Evaluation
) -> MeasuredPoint:
    """Train the network without ZAPs; return it as an entry of the list of results."""
    network = _fine_tuned(bundle, {}, source, args)
    figures = evaluate(network, {}, source.dataset.test, "control").figures(dense)
    return MeasuredPoint.model_validate(
        {
            "network": bundle.manifest.name,
            "dataset": source.dataset.name,
            "method": "none",
            "budget": f"{args.fine_tune} epochs",
            "drop": figures.drop,
            "mac_reduction": figures.mac_reduction,
            "fine_tuned": True,
            "float_top1": bundle.manifest.provenance.get("float_top1"),
            "int8_top1": dense.top1,
            "top1": figures.top1,
            "images": figures.images,
            "command": command_line("quant.choose"),
        }
    )


def _print_time_choice(bundle: Bundle, name: str) -> None:
    """Say what an operating point that was chosen by cycles gains, and which layers it leaves."""
    choice = bundle.operating_point(name).by_time
    assert choice is not None
    left = f"; without ZAP: {', '.join(choice.left_out)}" if choice.left_out else ""
    text = f"{name}: {choice.speed_up:.3f} times as fast on {choice.config} by the model{left}"
    Console().print(text, highlight=False, soft_wrap=True)


def _with_deviation(drop: float | None, deviation: float | None) -> str:
    """Format a loss and its standard error."""
    if drop is None:
        return ""
    return f"{drop:.2f}" if deviation is None else f"{drop:.2f} ± {deviation:.2f}"


def _promise(point: MeasuredPoint) -> str:
    """Format the loss that a budget promises not to exceed on so many images as were tested."""
    promised = point.promise
    return "" if promised is None else f"at most {promised:.2f}"


def _table(title: str, points: Sequence[MeasuredPoint]) -> Table:
    table = Table("budget", title=title)
    for heading in ("expected drop", "drop", "promise", "predicted MACs %", "MACs skipped %"):
        table.add_column(heading, justify="right")
    table.add_column("method")
    for point in points:
        reduction = point.predicted_mac_reduction
        table.add_row(
            point.budget,
            _with_deviation(point.expected_drop, point.predicted_deviation),
            _with_deviation(point.drop, point.deviation),
            _promise(point),
            "" if reduction is None else f"{100 * reduction:.2f}",
            f"{100 * point.mac_reduction:.2f}",
            f"{point.method} {point.pattern or ''}",
        )
    return table


if __name__ == "__main__":
    processes.run_parallel(main)
