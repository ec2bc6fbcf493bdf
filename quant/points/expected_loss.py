"""The accuracy that a network is expected to lose, more exactly than counted errors tell.

Few images change from right to wrong, and chance decides which: on 2,000 held-out images, a loss of
half a percentage point has a standard error as large as itself. Here each image whose class changes
counts by how much less likely the new class is. The likelihoods are those of the network without
ZAP: the softmax of its results, flattened or sharpened by one temperature, at which the labels of
the held-out images are most likely (Guo et al., *On Calibration of Modern Neural Networks*, 2017).
The loss itself then needs no labels.

Where the labels are the classes that the network itself gives, they are certain: the loss is the
share of images whose class changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from quant.data.answers import classes_of

__all__ = ["STANDARD_ERRORS", "ExpectedLoss", "Loss", "counted_loss"]

STANDARD_ERRORS = 2
"""The bound of a loss is so many standard errors above the loss that is expected."""

_COLDEST, _HOTTEST = 0.02, 20.0
_STEPS = 24
"""Of a search, each of which divides the interval."""


@dataclass(frozen=True)
class Loss:
    """Percentage points of accuracy that are lost, and the standard error of that number."""

    drop: float
    deviation: float

    @property
    def bound(self) -> float:
        """An upper bound of the loss: `STANDARD_ERRORS` standard errors above `drop`."""
        return self.drop + STANDARD_ERRORS * self.deviation


class ExpectedLoss:
    """Expected losses against a network without ZAP, on the same images.

    Parameters
    ----------
    results : integers (images, classes)
        What the network without ZAP gives.
    scale : float
        The value of one level of them.
    labels : int64 (images,)
    """

    def __init__(self, results: Tensor, scale: float, labels: Tensor) -> None:
        values = results.to(torch.float64) * scale
        self._classes = classes_of(results)
        if torch.equal(self._classes, labels):
            self.temperature = 0.0
            self._likelihood = F.one_hot(labels, values.shape[1]).to(torch.float64)
            return
        self.temperature = _most_likely(values, labels)
        self._likelihood = (values / self.temperature).softmax(1)

    def of(self, results: Tensor) -> Loss:
        """Return the loss of a network that gives these results."""
        before, after = (
            self._likelihood.gather(1, classes[:, None])[:, 0]
            for classes in (self._classes, classes_of(results))
        )
        return _mean(before - after)


def counted_loss(before: Tensor, after: Tensor, labels: Tensor) -> Loss:
    """Return the loss in right answers, image by image, of integer results (images, classes)."""
    right, still = (
        (classes_of(results) == labels).to(torch.float64) for results in (before, after)
    )
    return _mean(right - still)


def _mean(losses: Tensor) -> Loss:
    """Return mean and standard error of losses of single images."""
    deviation = float(losses.std(correction=0)) / sqrt(len(losses))
    return Loss(100 * float(losses.mean()), 100 * deviation)


def _most_likely(values: Tensor, labels: Tensor) -> float:
    """Return the temperature at which labels are most likely: there is one such maximum."""

    def likelihood(temperature: float) -> float:
        return float((values / temperature).log_softmax(1).gather(1, labels[:, None]).mean())

    low, high = log(_COLDEST), log(_HOTTEST)
    for _ in range(_STEPS):
        third = (high - low) / 3
        if likelihood(exp(low + third)) < likelihood(exp(high - third)):
            low += third
        else:
            high -= third
    return exp((low + high) / 2)
