"""Operating points for budgets: the images they use, a choice as a network, the measured line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.bundle import Bundle
from golden.layers import Predictor
from golden.pattern import Pattern
from quant.data.images import ImageSet
from quant.points.accuracy_line import AccuracyLine
from quant.points.alternatives import Choice
from quant.points.chooser import Budget, Chooser
from quant.points.evaluation import evaluate
from quant.points.expected_loss import ExpectedLoss, Loss
from quant.training.recalibration import recalibrate
from quant.zap.predictor import Site

__all__ = [
    "ChoiceImages",
    "MeasuredLine",
    "bundle_patterns",
    "measured_line",
    "network_as_chosen",
]


@dataclass(frozen=True)
class ChoiceImages:
    """The training images that operating points are chosen by. No test image is among them."""

    statistics: ImageSet
    """Images that the network was trained on, for statistics."""
    held_out: ImageSet
    """Images that the network was not trained on, to measure losses on."""
    recalibration: ImageSet | None
    """Images augmented as in training, to recalibrate with; None for no recalibration."""


def bundle_patterns(bundle: Bundle) -> list[Pattern]:
    """Return the patterns that a bundle has predictors for, each once, in their order."""
    nodes = bundle.manifest.predictors.values()
    return list(dict.fromkeys(Pattern.parse(node.pattern) for node in nodes))


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


@dataclass(frozen=True)
class MeasuredLine:
    """An accuracy-error line through upper bounds of losses, and the losses' standard errors.

    A bound is `quant.points.expected_loss.Loss.bound`.
    """

    line: AccuracyLine
    errors: tuple[float, ...]
    """Sums of eps of the measurements, rising."""
    deviations: tuple[float, ...]
    """Standard errors of the measured losses in percentage points."""

    def deviation_at(self, error: float) -> float:
        """Return the standard error of the loss that is expected at a sum of eps."""
        return float(np.interp(error, (0.0, *self.errors), (0.0, *self.deviations)))


def measured_line(
    bundle: Bundle,
    chooser: Chooser,
    budgets: Sequence[Budget],
    images: ChoiceImages,
) -> MeasuredLine:
    """Measure the accuracy-error line on the held-out images.

    Losses are expected ones (`quant.points.expected_loss`). Where a network gives maps, right
    pixels are counted.
    """
    measured: dict[float, Loss] = {}
    dense = evaluate(bundle, {}, images.held_out, "held out, dense")
    expected = None
    if dense.answers:
        scale = bundle.manifest.activations[bundle.manifest.output].scale
        expected = ExpectedLoss(dense.results, scale, dense.labels)

    def drop_of(choice: Choice) -> float:
        label = f"held out, error {choice.error:.3f}"
        network, predictors = network_as_chosen(bundle, choice, images.recalibration)
        found = evaluate(network, predictors, images.held_out, label)
        loss = Loss(dense.top1 - found.top1, 0.0)
        if expected is not None:
            loss = expected.of(found.results)
        measured[choice.error] = loss
        return loss.bound

    line = chooser.measure_line(budgets, drop_of)
    errors = sorted(measured)
    return MeasuredLine(line, tuple(errors), tuple(measured[e].deviation for e in errors))
