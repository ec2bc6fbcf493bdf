"""Runs a bundle on some images and counts what its layers do: zeros, skips, mistakes, scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.report.ofms import Decision
from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.errors import UserError
from golden.manifest import ConvNode
from golden.network import Network, Step, quantise_images
from quant.data.images import ImageSet
from quant.data.registry import load_for_bundle
from quant.networks.own_models import safe_name
from quant.points.statistics import Statistics, collect_statistics
from quant.runtime.progress import progress
from tb.runs.images import chosen_image

__all__ = ["Observation", "Observed", "PointCounts", "observe"]

_BATCH = 100
_SEED = 1
_POINT_IMAGES = 100
"""Images that the operating points run which are not the chosen one."""
_VALUES = 256


@dataclass
class Observed:
    """Counts over all images for a convolution that ends in a ReLU.

    `predicted` and `skipped`, int64 (256,), count activations of `I_t` by the value that they have
    without prediction: all of them, and those that were predicted zero.
    """

    name: str
    zap: bool
    activations: int
    zeros: int
    """Zero activations, without ZAP in any layer."""
    value: int
    """Sum of the activations, without ZAP in any layer."""
    predicted: np.ndarray
    skipped: np.ndarray

    @property
    def skipped_share(self) -> float:
        """Skipped activations / all activations."""
        return float(self.skipped.sum()) / self.activations

    @property
    def wrong(self) -> int:
        """Activations that were skipped although not zero."""
        return int(self.skipped[1:].sum())

    @property
    def lost(self) -> float:
        """Share of the ofm's sum that is skipped although not zero."""
        return float((self.skipped * np.arange(_VALUES)).sum()) / max(self.value, 1)


@dataclass(frozen=True)
class PointCounts:
    """Counts of an operating point on a number of test images, layer by layer."""

    images: int
    layers: list[Observed]


@dataclass(frozen=True, eq=False)
class Observation:
    """A network at its operating points, one of which is chosen. It is equal to itself alone.

    Parameters
    ----------
    name, dataset, point : str
        Network, dataset and the chosen operating point.
    points : {operating point: PointCounts}
        In the bundle's order.
    pixels, decisions
        The image that is pictured, float (channels, height, width), and the decisions of each
        layer with ZAP on it, at the chosen operating point.
    pictured : str
        That image in words.
    statistics : Statistics
        Statistics of all the bundle's predictors on `sampled` training images.
    bundle : Bundle
    """

    name: str
    dataset: str
    point: str
    points: dict[str, PointCounts]
    pixels: Tensor
    decisions: list[Decision]
    pictured: str
    statistics: Statistics
    sampled: int
    bundle: Bundle

    @property
    def images(self) -> int:
        """Test images that the chosen operating point ran."""
        return self.points[self.point].images

    @property
    def layers(self) -> list[Observed]:
        """Counts of the layers at the chosen operating point."""
        return self.points[self.point].layers

    @property
    def where(self) -> str:
        """Network and dataset, for people to read."""
        return f"{self.name} on {self.dataset}"

    @property
    def slug(self) -> str:
        """Network and dataset, for file names."""
        return f"{self.name}-{safe_name(self.dataset)}"


def observe(
    path: Path, data: Path | None, point: str | None, images: int, image: str = "0"
) -> Observation:
    """Load a bundle and its dataset and run at most `images` of its test and training images.

    `point` is the name of an operating point; None stands for the first. `image` is the one that is
    pictured, as `tb.runs.images.chosen_image` takes it; a file takes the place of the dataset where
    that cannot be read. Raises UserError where bundle, dataset or operating point are missing or do
    not fit.
    """
    bundle = Bundle.load(path)
    name = str(bundle.manifest.provenance.get("dataset"))
    if point is None and not bundle.manifest.operating_points:
        raise UserError("it has no operating point; choose some with quant.choose")
    chosen = point or bundle.manifest.operating_points[0].name
    adapted, predictors = bundle.at(chosen)
    if not predictors:
        raise UserError(f"its operating point {chosen} has no layer with ZAP; name one by --point")
    sparse = Network(adapted, predictors)
    pixels, _ = chosen_image(bundle, data, image)
    try:
        dataset = load_for_bundle(bundle, name, data)
        test, sample = dataset.test.first(images), dataset.train.sample(images, _SEED)
    except UserError:
        if image.isdecimal():
            raise
        name = Path(image).name
        test = sample = ImageSet(
            (pixels * 255).round().to(torch.uint8)[None], torch.zeros(1).long()
        )
    few = test.first(_POINT_IMAGES)
    return Observation(
        name=bundle.manifest.name,
        dataset=name,
        point=chosen,
        points={
            each.name: _count(bundle, each.name, test if each.name == chosen else few)
            for each in bundle.manifest.operating_points
        },
        pixels=pixels,
        decisions=[
            Decision(step.node.name, step.predictor.pattern, step.result)
            for step in sparse.steps(quantise_images(bundle, pixels[None]))
            if step.predictor is not None and step.result is not None
        ],
        pictured="The first test image" if image == "0" else f"Image {image}",
        statistics=collect_statistics(bundle, sample),
        sampled=len(sample),
        bundle=bundle,
    )


def _count(bundle: Bundle, point: str, test: ImageSet) -> PointCounts:
    return PointCounts(len(test), _layers(Network(bundle), Network(*bundle.at(point)), test))


def _layers(dense: Network, sparse: Network, test: ImageSet) -> list[Observed]:
    """Run the images without ZAP and with it."""
    layers: dict[str, Observed] = {}
    bundle = dense.bundle
    batches = ceil_div(len(test), _BATCH)
    for pixels, _ in progress(test.batches(_BATCH), batches, f"observing {bundle.manifest.name}"):
        inputs = quantise_images(bundle, pixels)
        for step in dense.steps(inputs):
            if _rectified(bundle, step):
                nothing = np.zeros(_VALUES, dtype=np.int64)
                zap = step.node.name in sparse.predictors
                layer = layers.setdefault(
                    step.node.name, Observed(step.node.name, zap, 0, 0, 0, nothing, nothing)
                )
                layer.activations += step.ofm.numel()
                layer.zeros += int((step.ofm == 0).sum())
                layer.value += int(step.ofm.sum())
        for step in sparse.steps(inputs):
            if step.predictor is not None and step.result is not None:
                layer, result = layers[step.node.name], step.result
                mask = step.predictor.pattern.mask(*result.dense.shape[2:])
                layer.predicted = layer.predicted + _histogram(
                    result.dense[..., torch.from_numpy(~mask)]
                )
                layer.skipped = layer.skipped + _histogram(result.dense[~result.keep])
    return list(layers.values())


def _rectified(bundle: Bundle, step: Step) -> bool:
    """True for a convolution, not fully connected, whose ofm cannot be negative."""
    if not isinstance(step.node, ConvNode) or step.node.fully_connected:
        return False
    return not bundle.manifest.activations[step.node.output].signed


def _histogram(values: Tensor) -> np.ndarray:
    """Count how often each of 0 .. 255 occurs."""
    return torch.bincount(values.flatten(), minlength=_VALUES).numpy()
