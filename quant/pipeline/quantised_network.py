"""The integer network of a trained module."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from golden.bundle import Bundle
from golden.network import Network, quantise_images
from quant.data.images import ImageSet
from quant.frontend.graph import Graph
from quant.frontend.lowering import lower_checked
from quant.networks.model import Model
from quant.quantise.calibration import activation_scales
from quant.quantise.equalisation import equalise
from quant.quantise.integer_network import quantise

__all__ = [
    "IMAGE_NOISE",
    "ResultNoise",
    "quantised_graph",
    "quantised_network",
    "result_noise",
]

_BATCH = 32
IMAGE_NOISE = 30
"""Decibels of the noise on the images that the noise of 8 bits is compared with."""
_MOST_DECIBELS = 200
"""The ratio that stands for no difference at all."""
_COMPARED = 8
"""Images whose results are compared in float and as integers."""


def quantised_network(
    module: nn.Module, model: Model, calibration: ImageSet, *, name: str, classes: list[str]
) -> Bundle:
    """Quantise a trained module to a bundle without predictors and operating points.

    Parameters
    ----------
    module : nn.Module
        In eval mode, on the CPU.
    model : Model
        Says how the module's input is normalised.
    calibration : ImageSet
        The images that the ranges of activations are taken from.
    name : str
        The network's name in the bundle.
    classes : list of str

    Raises UserError where the network cannot be lowered, or computes something else when it is.
    """
    return quantised_graph(module, model, calibration, name=name, classes=classes)[0]


def quantised_graph(
    module: nn.Module, model: Model, calibration: ImageSet, *, name: str, classes: list[str]
) -> tuple[Bundle, Graph]:
    """Quantise as `quantised_network` does; return the bundle and the float graph behind it."""
    batches = [model.normalise(pixels) for pixels, _ in calibration.batches(_BATCH)]
    graph = equalise(lower_checked(module, batches[0]), batches)
    scales = activation_scales(graph, model, batches)
    return quantise(graph, scales, model, name=name, classes=classes), graph


@dataclass(frozen=True)
class ResultNoise:
    """How far the first output of a network stands above its error, in decibels, on a few images.

    Unlike agreement of classes, it does not depend on how near to each other the classes' results
    are.
    """

    int8: float
    """The signal-to-noise ratio of the integer network's result."""
    noisy_images: float
    """That of the float network's result where the images have noise of `IMAGE_NOISE`.

    A network that amplifies this noise amplifies that of 8 bits, too."""


@torch.no_grad()
def result_noise(bundle: Bundle, graph: Graph, model: Model, images: ImageSet) -> ResultNoise:
    """Compare the result of the integer network with that of the float network."""
    pixels = images.first(_COMPARED).pixels(slice(None))
    normalised = model.normalise(pixels)
    expected = _result(graph, normalised)
    integers = Network(bundle).outputs(quantise_images(bundle, pixels))[graph.output]
    int8 = integers * bundle.manifest.activations[graph.output].scale
    noise = torch.randn(normalised.shape, generator=torch.Generator().manual_seed(1))
    noise *= normalised.square().mean().sqrt() * 10 ** (-IMAGE_NOISE / 20)
    return ResultNoise(
        int8=_decibels(expected, int8 - expected),
        noisy_images=_decibels(expected, _result(graph, normalised + noise) - expected),
    )


def _result(graph: Graph, images: Tensor) -> Tensor:
    return next(ofm for layer, ofm in graph.run(images) if layer.name == graph.output)


def _decibels(signal: Tensor, noise: Tensor) -> float:
    above, below = (float(tensor.double().square().sum()) for tensor in (signal, noise))
    least = above / 10 ** (_MOST_DECIBELS / 10)
    return round(10 * math.log10(above / max(below, least)), 1) if above else 0.0
