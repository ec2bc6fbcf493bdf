"""Accounting of the multiply-accumulates (MACs) and loads that a network's convolutions skip.

MAC reduction is the share of the MACs of all convolutions that is skipped. The first layer is
included, fully connected layers are not; the figure without the first layer is given too. A MAC
that is skipped both with its activation and with its input channel counts once. Load reduction is
the share of the ifm activations of the same layers that is not loaded. Each layer loads its ifm
once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from golden.manifest import Figures
from golden.network import Step
from quant.baselines.feature_map_pruning import live_channels
from quant.native.network import NativeStep
from quant.points.expected_loss import counted_loss

__all__ = ["Evaluation", "LayerTally"]


@dataclass
class LayerTally:
    """The counts of one convolution, summed over all images."""

    name: str
    macs: int
    """MACs of one whole ofm."""
    zap: bool
    """True if it ran with a predictor."""
    activations: int = 0
    kept: int = 0
    skipped: int = 0
    wrong: int = 0
    """Activations that were skipped although they would have been positive."""
    images: int = 0
    executed: int = 0
    """MACs of live input channels for activations that are not skipped."""
    loads: int = 0
    """Number of activations of the ifm."""
    loaded: int = 0
    """Activations of the ifm in live channels: all, unless feature maps are pruned."""

    def __add__(self, other: LayerTally) -> LayerTally:
        """Return the counts over the images of both."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return replace(self, **sums)

    @property
    def skipped_share(self) -> float:
        """Skipped activations / all activations."""
        return self.skipped / self.activations

    @property
    def wrong_share(self) -> float:
        """Wrongly skipped activations / skipped activations."""
        return self.wrong / self.skipped if self.skipped else 0.0

    def count(self, step: Step | NativeStep, epsilon: int | None) -> None:
        """Count a batch of images. Feature maps are pruned at `epsilon`, or not if it is None."""
        if isinstance(step, NativeStep):
            counters, wrong = step.counters, step.wrong
        else:
            assert step.result is not None
            counters = step.result.counters
            wrong = int(step.result.dense.count_nonzero() - step.result.ofm.count_nonzero())
        assert counters is not None
        self.activations += counters.total
        self.kept += counters.kept
        self.skipped += counters.skipped
        self.wrong += wrong
        images, channels, height, width = step.ifm.shape
        kernel = self.macs // (step.ofm[0].numel() * channels)
        if epsilon is None:
            executed, live = (counters.total - counters.skipped) * channels, images * channels
        else:
            assert isinstance(step, Step)
            assert step.result is not None
            maps = live_channels(step.ifm, epsilon).sum(1)
            executed = int((step.result.keep.count_nonzero((1, 2, 3)) * maps).sum())
            live = int(maps.sum())
        self.images += images
        self.executed += executed * kernel
        self.loads += step.ifm.numel()
        self.loaded += live * height * width


_COUNTS = [field.name for field in fields(LayerTally) if field.default == 0]
"""The fields that are summed over images."""


@dataclass
class Evaluation:
    """A network's result on a number of images; `layers` are its convolutions in order.

    An image whose result is a map counts as correct by the share of its pixels that are.
    """

    images: int = 0
    correct: float = 0
    layers: list[LayerTally] = field(default_factory=list)
    answers: list[tuple[Tensor, Tensor]] = field(default_factory=list, compare=False, repr=False)
    """Batches of a classifier's results, integers (images, classes), and labels, int64 (images,).
    Every evaluation of the same images has them in the same order; with several processes that is
    not the images' own."""

    def __add__(self, other: Evaluation) -> Evaluation:
        """Return the result on the images of both. One may have no images, and so no layers."""
        layers = [mine + its for mine, its in zip(self.layers, other.layers)]
        return Evaluation(
            self.images + other.images,
            self.correct + other.correct,
            layers or self.layers or other.layers,
            self.answers + other.answers,
        )

    @property
    def results(self) -> Tensor:
        """The results of a classifier, integers (images, classes)."""
        return torch.cat([results for results, _ in self.answers])

    @property
    def labels(self) -> Tensor:
        """The labels of the images that a classifier ran, int64 (images,)."""
        return torch.cat([labels for _, labels in self.answers])

    @property
    def top1(self) -> float:
        """Accuracy in percent."""
        return 100 * self.correct / self.images

    @property
    def mac_reduction(self) -> float:
        """Skipped MACs / MACs of all convolutions."""
        return _reduction(self.layers)

    @property
    def mac_reduction_without_first(self) -> float:
        """Skipped MACs / MACs of all convolutions but the first."""
        return _reduction(self.layers[1:])

    @property
    def load_reduction(self) -> float:
        """Ifm activations not loaded / ifm activations, of all convolutions."""
        loads = sum(layer.loads for layer in self.layers)
        return (loads - sum(layer.loaded for layer in self.layers)) / loads

    @property
    def wrong_share(self) -> float:
        """Wrongly skipped activations / skipped activations."""
        skipped = sum(layer.skipped for layer in self.layers)
        return sum(layer.wrong for layer in self.layers) / skipped if skipped else 0.0

    def figures(self, dense: Evaluation) -> Figures:
        """Return the figures of an operating point; `dense` is the result without ZAP.

        The drop of a classifier has a standard error, image by image.
        """
        deviation = None
        if self.answers and dense.answers:
            deviation = counted_loss(dense.results, self.results, self.labels).deviation
        return Figures(
            top1=self.top1,
            drop=dense.top1 - self.top1,
            deviation=deviation,
            mac_reduction=self.mac_reduction,
            images=self.images,
        )


def _reduction(layers: list[LayerTally]) -> float:
    total = sum(layer.macs * layer.images for layer in layers)
    return (total - sum(layer.executed for layer in layers)) / total
