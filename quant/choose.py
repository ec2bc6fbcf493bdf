"""Operating points from budgets: name what may be lost or must be saved, get the thresholds.

    python -m quant.choose BUNDLE --dataset NAME --data DIR --max-drop 0.5 1 2 --out DIR
    python -m quant.choose BUNDLE --dataset NAME --data DIR --mac-reduction 0.2 0.3 --out DIR
    python -m quant.choose BUNDLE --dataset NAME --data DIR --sigma 0.1 --pattern B --out DIR

Statistics of training images say what each layer loses and saves at each threshold; a few
measurements on other training images say how much accuracy a loss costs (section 3 of the paper).
Thresholds and patterns follow, for each layer or uniform, before any is run on the test images,
which are looked at once for each operating point and only to report.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from golden.bundle import Bundle, check_replaceable
from golden.errors import UserError, run_cli
from golden.manifest import Figures
from golden.pattern import Pattern
from quant import results
from quant.budget import Chosen, at_sigma, menus, reaching, within
from quant.choices import parse_sigma
from quant.data import DATASETS, Split, load
from quant.evaluate import Evaluation, check_fits, evaluate
from quant.export import add_operating_point
from quant.statistics import Statistics, collect
from quant.zap import Site

__all__ = ["Budget", "Chooser", "Line", "main"]

_SEED = 1
_STATISTICS_IMAGES = 1000
_HELD_OUT = 2000
_FEWEST_IMAGES = 100
_SCOUTS = (0.25, 0.5, 0.75, 1.0)
"""Of all that can be skipped, the shares whose loss is tried first, until one is clear."""
_CLEAR_DROP = 0.5
"""So many points are."""
_PROBES = (0.5, 1.0)
"""Then losses are measured at these shares of the largest error that a budget calls for."""


@dataclass(frozen=True)
class Budget:
    """What the user asks for; `option` is the command-line option without its dashes."""

    option: str
    value: float

    def __str__(self) -> str:
        return f"{self.option} {self.value:g}"


@dataclass(frozen=True)
class Line:
    """Points of top-1 accuracy lost = slope * sum of eps, while that is small."""

    slope: float

    @classmethod
    def fit(cls, errors: Sequence[float], drops: Sequence[float]) -> Line:
        """The least-squares line through the origin. Raises UserError where it does not rise."""
        product = sum(error * drop for error, drop in zip(errors, drops))
        if product <= 0:
            raise UserError(
                "the images held out show no loss of accuracy that thresholds could be chosen by; "
                "give more with --held-out"
            )
        return cls(product / sum(error * error for error in errors))


class Chooser:
    """Turns budgets into operating points.

    Parameters
    ----------
    statistics : Statistics
    patterns : sequence of Pattern
        The ones to choose from; exactly one where a budget is a threshold.
    uniform : bool
        All layers have the same pattern and threshold.
    """

    def __init__(
        self, statistics: Statistics, patterns: Sequence[Pattern], *, uniform: bool
    ) -> None:
        self.statistics = statistics
        self.patterns = patterns
        self.uniform = uniform
        self.menus = menus(statistics, patterns, uniform=uniform)

    def choose(self, budget: Budget, line: Line) -> Chosen:
        """The operating point that meets a budget. Raises UserError where none does."""
        if budget.option == "sigma":
            return at_sigma(self.statistics, self.patterns[0], budget.value)
        if budget.option == "mac-reduction":
            return reaching(self.menus, budget.value)
        chosen = within(self.menus, budget.value / line.slope)
        if not chosen.layers:
            least = min(errors[errors > 0].min() for errors in (m.errors for m in self.menus))
            raise UserError(
                f"{budget} is out of reach: the least that skipping anything is predicted to "
                f"lose is {least * line.slope:.4f} points"
            )
        return chosen

    def measure_line(self, budgets: Sequence[Budget], drop_of: Callable[[Chosen], float]) -> Line:
        """The accuracy-error line, measured where the budgets will make use of it.

        `drop_of` says how many points a choice loses on images held out.
        """
        most = sum(float(menu.savings.max()) for menu in self.menus)
        errors: list[float] = []
        drops: list[float] = []
        for share in _SCOUTS:
            probe = reaching(self.menus, share * most)
            errors.append(probe.error)
            drops.append(drop_of(probe))
            if drops[-1] >= _CLEAR_DROP:
                break
        line = Line.fit(errors, drops)
        largest = max(self.choose(budget, line).error for budget in budgets)
        for share in _PROBES:
            probe = within(self.menus, share * largest)
            errors.append(probe.error)
            drops.append(drop_of(probe))
        return Line.fit(errors, drops)


def operating_point(bundle: Bundle, name: str, chosen: Chosen, line: Line, images: int) -> Bundle:
    """The bundle with one more operating point and what is predicted of it."""
    bundle = add_operating_point(bundle, name, chosen.layers)
    predicted = Figures(
        drop=line.slope * chosen.error, mac_reduction=chosen.mac_reduction, images=images
    )
    return _with_figures(bundle, name, predicted=predicted)


def _with_figures(bundle: Bundle, name: str, **figures: Figures) -> Bundle:
    points = [
        point.model_copy(update=figures) if point.name == name else point
        for point in bundle.manifest.operating_points
    ]
    return Bundle(bundle.manifest.model_copy(update={"operating_points": points}), bundle.tensors)


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
    add("--uniform", action="store_true", help="the same pattern and threshold in all layers")
    add(
        "--statistics-images",
        type=int,
        metavar="N",
        help=f"training images for statistics ({_STATISTICS_IMAGES})",
    )
    add(
        "--held-out",
        type=int,
        metavar="N",
        help=f"training images to measure losses on ({_HELD_OUT})",
    )
    add("--json", type=Path, help="add the results to this list of operating points")
    add("--out", type=Path, required=True, help="the new bundle's directory")
    return parser


def main() -> None:
    """The command line: the bundle with one operating point for each budget."""
    args = arguments().parse_args()
    check_replaceable(args.out)
    earlier = results.read(args.json)
    bundle = Bundle.load(args.bundle)
    budgets = _budgets(args)
    patterns = _patterns(bundle, args)
    names = _names(bundle, budgets, args)
    dataset = load(args.dataset, args.data)
    check_fits(bundle, dataset)
    sample, held_out = _splits(dataset.train, args.statistics_images, args.held_out)

    chooser = Chooser(collect(bundle, sample), patterns, uniform=args.uniform)
    dense = evaluate(bundle, {}, held_out, "held out, dense")
    line = chooser.measure_line(budgets, lambda chosen: _drop(bundle, chosen, held_out, dense))
    # All are chosen before the first is run on the test images.
    for name, budget in zip(names, budgets):
        chosen = chooser.choose(budget, line)
        bundle = operating_point(bundle, name, chosen, line, len(sample))
    dense = evaluate(bundle, {}, dataset.test, "dense")
    for name in names:
        predictors = bundle.predictors(bundle.operating_point(name))
        measured = evaluate(bundle, predictors, dataset.test, name).figures(dense)
        bundle = _with_figures(bundle, name, measured=measured)
    bundle.save(args.out)

    rows = [_row(bundle, dataset.name, n, b, dense, chooser) for n, b in zip(names, budgets)]
    if args.json is not None:
        results.write(args.json, [*earlier, *rows])
    Console().print(_table(f"{bundle.manifest.name} on {dataset.name}", rows))
    Console().print(f"wrote {args.out}")


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
    how = [*["uniform"] * args.uniform, *args.pattern]
    names = ["-".join([budget.option, f"{budget.value:g}", *how]) for budget in budgets]
    taken = {point.name for point in bundle.manifest.operating_points}
    for index, name in enumerate(names):
        if name in taken or name in names[:index]:
            raise UserError(f"there is an operating point {name!r} already; leave that budget out")
    return names


def _splits(train: Split, statistics: int | None, held_out: int | None) -> tuple[Split, Split]:
    """Two samples of the training images that have none in common."""
    third = len(train) // 3
    first = min(_STATISTICS_IMAGES, third) if statistics is None else statistics
    second = min(_HELD_OUT, 2 * third) if held_out is None else held_out
    if min(first, second) < _FEWEST_IMAGES:
        raise UserError(
            f"{min(first, second)} images are too few to choose by: "
            f"--statistics-images and --held-out must be at least {_FEWEST_IMAGES}"
        )
    if first + second > len(train):
        raise UserError(
            f"--statistics-images {first} and --held-out {second} do not fit into the "
            f"{len(train)} training images"
        )
    drawn = train.sample(first + second, _SEED)
    return drawn.first(first), Split(drawn.images[first:], drawn.labels[first:])


def _drop(bundle: Bundle, chosen: Chosen, split: Split, dense: Evaluation) -> float:
    """Points lost on a split, of which `dense` is the network's result without ZAP."""
    predictors = {}
    for layer, (pattern, sigma) in chosen.layers.items():
        name = Site(layer, pattern).name
        predictors[layer] = bundle.predictor(name, bundle.threshold(name, sigma))
    label = f"held out, error {chosen.error:.3f}"
    return dense.top1 - evaluate(bundle, predictors, split, label).top1


def _row(
    bundle: Bundle, dataset: str, name: str, budget: Budget, dense: Evaluation, chooser: Chooser
) -> results.Result:
    """One operating point as `quant.results` keeps it, with the patterns it was chosen from."""
    point = bundle.operating_point(name)
    assert point.predicted is not None
    assert point.measured is not None
    patterns = {str(pattern) for pattern in chooser.patterns}
    uniform = chooser.uniform or budget.option == "sigma"
    if uniform:
        patterns = {bundle.manifest.predictors[c.predictor].pattern for c in point.layers.values()}
    return {
        "network": bundle.manifest.name,
        "dataset": dataset,
        "method": "zap-uniform" if uniform else "zap",
        "pattern": "+".join(sorted(patterns)),
        "budget": str(budget),
        "predicted_drop": point.predicted.drop,
        "drop": point.measured.drop,
        "predicted_mac_reduction": point.predicted.mac_reduction,
        "mac_reduction": point.measured.mac_reduction,
        "fine_tuned": False,
        "float_top1": bundle.manifest.provenance.get("float_top1"),
        "int8_top1": dense.top1,
        "top1": point.measured.top1,
        "images": point.measured.images,
        "command": shlex.join(["python", "-m", "quant.choose", *sys.argv[1:]]),
    }


def _table(title: str, rows: Sequence[results.Result]) -> Table:
    table = Table("budget", title=title)
    for heading in ("predicted drop", "drop", "predicted MACs %", "MACs skipped %"):
        table.add_column(heading, justify="right")
    table.add_column("method")
    for row in rows:
        table.add_row(
            row["budget"],
            f"{row['predicted_drop']:.2f}",
            f"{row['drop']:.2f}",
            f"{100 * row['predicted_mac_reduction']:.2f}",
            f"{100 * row['mac_reduction']:.2f}",
            f"{row['method']} {row['pattern']}",
        )
    return table


if __name__ == "__main__":
    run_cli(main)
