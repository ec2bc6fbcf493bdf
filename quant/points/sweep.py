"""Sweeps: a bundle's network run in several ways on the same images, and one row for each run."""

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

__all__ = ["Row", "Run", "plan", "sweep"]


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


def sweep(runs: Sequence[Run], image_set: ImageSet) -> list[Row]:
    """Evaluate each; the first is what the others' drop is measured from."""
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
