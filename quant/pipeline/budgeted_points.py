"""Running a bundle's network as it was chosen, and measuring what choices lose."""

from __future__ import annotations

from collections.abc import Sequence

from golden.bundle import Bundle
from golden.layers import Predictor
from quant.data.images import ImageSet
from quant.points.accuracy_line import AccuracyLine
from quant.points.alternatives import Choice
from quant.points.chooser import Budget, Chooser
from quant.points.evaluation import evaluate
from quant.training.recalibration import recalibrate
from quant.zap.predictor import Site

__all__ = ["measured_line", "network_as_chosen"]


def network_as_chosen(
    bundle: Bundle, chosen: Choice, recalibration: ImageSet | None
) -> tuple[Bundle, dict[str, Predictor]]:
    """The network and predictors of a choice, recalibrated where there are images for that."""
    predictors = {}
    for layer, (pattern, sigma) in chosen.layers.items():
        name = Site(layer, pattern).name
        predictors[layer] = bundle.predictor(name, bundle.threshold(name, sigma))
    if recalibration is None:
        return bundle, predictors
    return recalibrate(bundle, predictors, recalibration), predictors


def measured_line(
    bundle: Bundle,
    chooser: Chooser,
    budgets: Sequence[Budget],
    held_out: ImageSet,
    recalibration: ImageSet | None,
) -> AccuracyLine:
    """The accuracy-error line, by what the held-out images lose."""
    dense = evaluate(bundle, {}, held_out, "held out, dense")

    def drop_of(chosen: Choice) -> float:
        label = f"held out, error {chosen.error:.3f}"
        network, predictors = network_as_chosen(bundle, chosen, recalibration)
        return dense.top1 - evaluate(network, predictors, held_out, label).top1

    return chooser.measure_line(budgets, drop_of)
