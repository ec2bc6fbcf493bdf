"""The integer network of a trained module."""

from __future__ import annotations

import math

import torch
from torch import nn

from golden.bundle import Bundle
from golden.network import Network, quantise_images
from quant.data.images import ImageSet
from quant.frontend.graph import Graph
from quant.frontend.lowering import lower_checked
from quant.networks.model import Model
from quant.quantise.calibration import activation_scales
from quant.quantise.equalisation import equalise
from quant.quantise.integer_network import quantise

__all__ = ["quantised_graph", "quantised_network", "result_sqnr"]

_BATCH = 32
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


@torch.no_grad()
def result_sqnr(bundle: Bundle, graph: Graph, model: Model, images: ImageSet) -> float:
    """Return how far the integer network's result stands above its error, in decibels.

    It is the signal-to-quantisation-noise ratio of the first output on a few images. Unlike
    agreement of classes, it does not depend on how near to each other the classes' results are.
    """
    pixels = images.first(_COMPARED).pixels(slice(None))
    expected = next(o for n, o in graph.run(model.normalise(pixels)) if n.name == graph.output)
    integers = Network(bundle).outputs(quantise_images(bundle, pixels))[graph.output]
    error = integers * bundle.manifest.activations[graph.output].scale - expected
    tiny = torch.finfo(torch.float64).tiny
    powers = (float(tensor.double().square().sum()) + tiny for tensor in (expected, error))
    signal, noise = powers
    return round(10 * math.log10(signal / noise), 1)
