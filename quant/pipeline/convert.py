"""From a PyTorch module and images to a bundle: the whole way, for commands and for programs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from torch import nn

from golden.bundle import Bundle
from golden.errors import UserError
from golden.pattern import MASKS, Pattern
from quant.data.image_arrays import from_arrays
from quant.data.images import ImageSet
from quant.data.registry import Dataset, divided_dataset
from quant.frontend.lowering import lower
from quant.networks.model import Model
from quant.networks.own_models import SIGMA, own_model, safe_name
from quant.pipeline.bundle_images import dropout_provenance
from quant.pipeline.quantised_network import IMAGE_NOISE, ResultNoise, quantised_graph, result_noise
from quant.points.accounting import Evaluation
from quant.points.evaluation import evaluate
from quant.points.operating_points import add_operating_point, with_figures
from quant.quantise.integer_network import WEIGHT_BITS
from quant.training.trainer import float_top1
from quant.zap.predictor import Site, Zap
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps

__all__ = [
    "DEFAULT_PATTERN",
    "Conversion",
    "Zapping",
    "calibration_images",
    "convert",
    "convert_network",
]

DEFAULT_PATTERN = MASKS["B"]
_POINT = "default"
_CALIBRATION_IMAGES = 1024
_ZAP_EPOCHS = 5
_ZAP_IMAGES_SEEN = 16_000
"""A small dataset is gone through more often, until the ZAPs have seen so many images."""
_LARGEST_INT8_DROP = 2.0
"""Percentage points that 8 bits may lose without a warning."""
_FEWEST_LOST = 5
"""Images; fewer are chance."""
_LARGEST_DROP = 3.0
"""Percentage points that an operating point may lose without a warning."""
_LEAST_AGREEMENT = 95.0
"""Percent of the images that an operating point must classify as the float network does."""
_LEAST_SQNR = 10.0
"""Decibels; below, the error of 8 bits is more than a third of the result."""
_WORSE_THAN_NOISE = 3.0
"""Decibels; a network that amplifies noise on its images so much is no better in float."""
_FLOAT_BATCH = 250

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class Zapping:
    """The predictors that are trained.

    Parameters
    ----------
    choices : {layer name: (Pattern, sigma)}
        The operating point `default`.
    spare : sequence of Pattern
        Predictors for these patterns are trained too, in each layer of `choices`.
    images : int, optional
        The number of training images that they learn from; by default all.
    epochs : int, optional
        By default 5, and more where there are few images.
    bits : int
        The width of their weights, at most 8.
    """

    choices: Mapping[str, tuple[Pattern, float]]
    spare: Sequence[Pattern] = ()
    images: int | None = None
    epochs: int | None = None
    bits: int = WEIGHT_BITS


@dataclass(frozen=True)
class Conversion:
    """A converted network and what was measured on the test images."""

    bundle: Bundle
    """With the operating point `default` and its measured figures, without provenance."""
    zaps: dict[Site, Zap]
    """The predictors in float."""
    epochs: int
    """The epochs that they were trained for."""
    zap_images: int
    """The number of images that they learned from."""
    labelled: bool
    """False if the images have no labels: accuracy is agreement with the float network then."""
    float_top1: float
    """In percent."""
    noise: ResultNoise
    dense: Evaluation
    """The integer network without ZAP."""
    sparse: Evaluation
    """The integer network at the operating point."""

    @property
    def warnings(self) -> list[str]:
        """Sentences about what loses much: 8 bits, or the operating point."""
        result = []
        drop = self.float_top1 - self.dense.top1
        if drop > _LARGEST_INT8_DROP and drop * self.dense.images >= 100 * _FEWEST_LOST:
            lost = f"{drop:.1f} percentage points against float"
            if not self.labelled:
                lost = f"the class of the float network in {drop:.1f} % of the images"
            result.append(
                f"int8 loses {lost}; calibrate with more images, or with ones as it was trained on"
            )
        elif not self.labelled and self.noise.int8 < min(
            _LEAST_SQNR, self.noise.noisy_images - _WORSE_THAN_NOISE
        ):
            result.append(
                f"int8 gives other results than float: their signal-to-noise ratio is "
                f"{self.noise.int8} dB, and {self.noise.noisy_images} dB with float and noise of "
                f"{IMAGE_NOISE} dB on the images; calibrate with more images, or with ones as it "
                "was trained on"
            )
        advice = (
            "give a smaller --sigma, or let quant.choose find thresholds for a budget of accuracy"
        )
        drop = self.dense.top1 - self.sparse.top1
        if drop > _LARGEST_DROP:
            result.append(
                f"the operating point {_POINT} loses {drop:.1f} percentage points against int8; "
                f"{advice}"
            )
        elif not self.labelled and self.sparse.top1 < _LEAST_AGREEMENT:
            result.append(
                f"at the operating point {_POINT} {self.sparse.top1:.1f} % of the images are "
                f"classified as the float network does, in int8 {self.dense.top1:.1f} %; {advice}"
            )
        return result


def calibration_images(dataset: Dataset, seed: int) -> ImageSet:
    """Draw the training images that a network is quantised with."""
    return dataset.train.sample(_CALIBRATION_IMAGES, seed)


def convert_network(
    module: nn.Module,
    model: Model,
    dataset: Dataset,
    zapping: Zapping,
    *,
    name: str,
    classes: list[str],
    test: ImageSet,
    seed: int,
    device: str = "cpu",
) -> Conversion:
    """Quantise a module, train its predictors, and measure the result on test images.

    Where the images have no labels, the classes that the module gives take their place.

    Parameters
    ----------
    module : nn.Module
        In eval mode, with its final weights.
    model : Model
        Says how the module's input is normalised.
    dataset : Dataset
    zapping : Zapping
    name : str
        The network's name in the bundle.
    classes : list of str
        As many as the module has outputs.
    test : ImageSet
        The test images to measure on.
    seed : int
    device : str
        The device that trains and runs in float.

    Raises UserError where the network cannot be lowered, or computes something else when it is.
    """
    if not dataset.labelled:
        module.to(device)
        test = test.labelled_by(lambda p: module(model.normalise(p).to(device)), _FLOAT_BATCH)
    float_accuracy = float_top1(model, module, test, device=device)
    calibration = calibration_images(dataset, seed)
    bundle, graph = quantised_graph(module.cpu(), model, calibration, name=name, classes=classes)
    noise = result_noise(bundle, graph, model, test)
    images = dataset.train.sample(zapping.images or len(dataset.train), seed)
    epochs = zapping.epochs or max(_ZAP_EPOCHS, _ZAP_IMAGES_SEEN // len(images))
    sites = [
        Site(layer, pattern)
        for layer, (chosen, _) in zapping.choices.items()
        for pattern in dict.fromkeys([chosen, *zapping.spare])
    ]
    zaps = train_zaps(bundle, sites, images, epochs=epochs, seed=seed, device=device)
    bundle = add_zaps(bundle, zaps, calibration, bits=zapping.bits)
    bundle = add_operating_point(bundle, _POINT, zapping.choices)
    dense = evaluate(bundle, {}, test, "evaluating int8")
    sparse = evaluate(*bundle.at(_POINT), test, "evaluating int8 + ZAP")
    bundle = with_figures(bundle, _POINT, {"measured": sparse.figures(dense)})
    return Conversion(
        bundle, zaps, epochs, len(images), dataset.labelled, float_accuracy, noise, dense, sparse
    )


def convert(
    module: nn.Module,
    images: Any,
    labels: Any = None,
    *,
    test: tuple[Any, Any] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    classes: list[str] | None = None,
    name: str | None = None,
    pattern: str | Mapping[str, str] = str(DEFAULT_PATTERN),
    sigma: float | Mapping[str, float] = SIGMA,
    zap_epochs: int | None = None,
    seed: int = 1,
    device: str = "cpu",
) -> Bundle:
    """Convert a trained module to a bundle with trained predictors.

    The module is not changed. A warning is given where the operating point `default` loses much.

    Parameters
    ----------
    module : nn.Module
        A ReLU network that maps images (n, channels, height, width) to logits (n, classes).
    images : uint8 array or tensor
        (n, height, width, channels), (n, channels, height, width) or (n, height, width): images to
        calibrate and to train the predictors with. At least 10.
    labels : integers (n,), optional
        The classes of the images. Without labels, agreement with the module takes the place of
        accuracy.
    test : (images, labels or None), optional
        Images to measure on; by default a fifth of the images, which are left out of the training.
    mean, std : float, or one for each channel
        The module's input is (pixel / 255 - mean) / std. For a module that takes pixels of
        0 .. 255, `std` is 1 / 255.
    classes : list of str, optional
        Names of the classes; by default their numbers.
    name : str, optional
        The network's name in the bundle; by default that of its class.
    pattern : str or {layer name: str}
        What `Pattern.parse` reads, for all layers or for some; the others have B.
    sigma : float or {layer name: float}
        The threshold of the predictors, for all layers or for some; the others have 0.1.
    zap_epochs : int, optional
        By default 5, and more where there are few images.
    seed : int
        Of orders and initial weights of predictors. The same seed gives the same bundle.
    device : str
        The device that trains the predictors and runs the module.

    Returns
    -------
    Bundle
        `save(path)` writes it; its operating point `default` has the measured figures.

    Raises
    ------
    UserError
        Where images or labels do not fit, or the network cannot run on the hardware. It says why.
    """
    module = copy.deepcopy(module).float().eval()
    dataset = divided_dataset("images", from_arrays(images, labels, classes=classes, test=test))
    channels = dataset.shape[0]
    model = own_model(module, _per_channel(mean, channels), _per_channel(std, channels))
    graph = lower(module, dataset.shape)
    layers = [layer.name for layer in graph.zap_sites()]
    patterns = _for_layers(pattern, layers, Pattern.parse, DEFAULT_PATTERN)
    sigmas = _for_layers(sigma, layers, float, SIGMA)
    conversion = convert_network(
        module,
        model,
        dataset,
        Zapping(choices={n: (patterns[n], sigmas[n]) for n in layers}, epochs=zap_epochs),
        name=safe_name(name or type(module).__name__),
        classes=dataset.classes_for(graph.shapes[graph.output][0]),
        test=dataset.test,
        seed=seed,
        device=device,
    )
    for text in conversion.warnings:
        warnings.warn(text, stacklevel=2)
    bundle = conversion.bundle
    provenance = dropout_provenance(graph.dropout())
    return Bundle(bundle.manifest.model_copy(update={"provenance": provenance}), bundle.tensors)


def _per_channel(value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """Return one number for each channel."""
    values = tuple(float(number) for number in np.atleast_1d(value))
    values = values * channels if len(values) == 1 else values
    if len(values) != channels:
        raise UserError(f"mean and std: {len(values)} numbers for images of {channels} channels")
    return values


def _for_layers(
    given: Any, layers: Sequence[str], parse: Callable[[Any], _Value], default: _Value
) -> dict[str, _Value]:
    """Return the value of each layer, from one value for all or from those of some layers."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(layers, parse(given))
    for layer in given:
        if layer not in layers:
            raise UserError(f"no ZAP in a layer {layer!r}; there is in {', '.join(layers)}")
    return {layer: parse(given[layer]) if layer in given else default for layer in layers}
