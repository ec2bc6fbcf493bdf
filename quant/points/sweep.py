"""Sweeps: a bundle's network runs in several ways on the same images, one row for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Predictor
from golden.pattern import Pattern
from quant.data.images import ImageSet
from quant.points.evaluation import evaluate
from quant.points.results import MeasuredPoint

__all__ = ["Row", "Run", "measured_points", "plan", "sweep"]


@dataclass(frozen=True)
class Run:
    """One way to run a bundle's network."""

    point: str
    """An operating point, a pattern, `dense` or `value-prediction`."""
    network: Bundle
    predictors: Mapping[str, Predictor] = field(default_factory=dict)
    adapted: frozenset[str] = frozenset()
    """Fields of layers, for example `weight`, that were adapted to the operating point."""
    sigma: float | None = None
    """The threshold of all layers, if all have the same."""
    window: int | None = None
    """Height and width of the windows of value prediction."""
    epsilon: int | None = None
    """Levels that a pruned feature map may be away from zero."""

    def __str__(self) -> str:
        """Return a description, for example `B sigma 0.1 epsilon 1`."""
        return " ".join([self.point, *self._options()])

    @property
    def method(self) -> str:
        """The methods that skip, for example `zap+feature-map-pruning`."""
        parts = {
            "zap": bool(self.predictors),
            "value-prediction": self.window is not None,
            "feature-map-pruning": self.epsilon is not None,
        }
        return "+".join(part for part in parts if parts[part]) or "dense"

    @property
    def pattern(self) -> str | None:
        """The predictors' patterns, joined by +; None if there are no predictors."""
        patterns = {str(predictor.pattern) for predictor in self.predictors.values()}
        return "+".join(sorted(patterns)) or None

    @property
    def budget(self) -> str:
        """The settings that decide how much is skipped, for example `sigma 0.1 epsilon 1`."""
        named = [self.point] if self.predictors and self.sigma is None else []
        return " ".join([*named, *self._options()])

    def _options(self) -> list[str]:
        values = {name: getattr(self, name) for name in ("sigma", "window", "epsilon")}
        return [f"{name} {value:g}" for name, value in values.items() if value is not None]


@dataclass(frozen=True)
class Row:
    """A run and its results: one line of the table.

    `drop` is in percentage points, `top1` in percent; reductions are shares of 1.
    """

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
    """List the runs of a sweep.

    These are the dense network, each operating point, and each pattern with each threshold; then
    each of these with each epsilon; then each window size. Raises UserError if the bundle lacks an
    operating point or has no predictor for a pattern.
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


def sweep(runs: Sequence[Run], image_set: ImageSet) -> list[Row]:
    """Evaluate each run. Drops are measured against the first run."""
    rows: list[Row] = []
    for run in runs:
        result = evaluate(
            run.network, run.predictors, image_set, str(run), window=run.window, epsilon=run.epsilon
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


def measured_points(
    bundle: Bundle, dataset: str, runs: Sequence[Run], rows: Sequence[Row], command: str
) -> list[MeasuredPoint]:
    """Return the runs with value prediction or pruning as entries of the list of results.

    `quant.choose` records ZAP by itself, together with its prediction.
    """
    return [
        MeasuredPoint.model_validate(
            {
                "network": bundle.manifest.name,
                "dataset": dataset,
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
                "command": command,
            }
        )
        for run, row in zip(runs, rows)
        if run.window is not None or run.epsilon is not None
    ]
