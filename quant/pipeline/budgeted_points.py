"""Operating points for budgets: the images they use, a choice as a network, the measured line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from golden.bundle import Bundle
from golden.layers import Predictor
from quant.data.images import ImageSet
from quant.points.accuracy_line import AccuracyLine
from quant.points.alternatives import Choice
from quant.points.chooser import Budget, Chooser
from quant.points.evaluation import evaluate
from quant.training.recalibration import recalibrate
from quant.zap.predictor import Site

__all__ = ["ChoiceImages", "measured_line", "network_as_chosen"]


@dataclass(frozen=True)
class ChoiceImages:
    """The training images that operating points are chosen by. No test image is among them."""

    statistics: ImageSet
    """Images that the network was trained on, for statistics."""
    held_out: ImageSet
    """Images that the network was not trained on, to measure losses on."""
    recalibration: ImageSet | None
    """Images augmented as in training, to recalibrate with; None for no recalibration."""


def network_as_chosen(
    bundle: Bundle, choice: Choice, recalibration: ImageSet | None
) -> tuple[Bundle, dict[str, Predictor]]:
    """Return the network and the predictors of a choice.

    The network is recalibrated for the predictors if there are images for that.
    """
    predictors = {}
    for layer, (pattern, sigma) in choice.layers.items():
        name = Site(layer, pattern).name
        predictors[layer] = bundle.predictor(name, bundle.threshold(name, sigma))
    if recalibration is None:
        return bundle, predictors
    return recalibrate(bundle, predictors, recalibration), predictors


def measured_line(
    bundle: Bundle, chooser: Chooser, budgets: Sequence[Budget], images: ChoiceImages
) -> AccuracyLine:
    """Measure the accuracy-error line on the held-out images."""
    dense = evaluate(bundle, {}, images.held_out, "held out, dense")

    def drop_of(choice: Choice) -> float:
        label = f"held out, error {choice.error:.3f}"
        network, predictors = network_as_chosen(bundle, choice, images.recalibration)
        return dense.top1 - evaluate(network, predictors, images.held_out, label).top1

    return chooser.measure_line(budgets, drop_of)
