"""The integer network of a trained module."""

from __future__ import annotations

from torch import nn

from golden.bundle import Bundle
from quant.data.images import ImageSet
from quant.frontend.lowering import lower_checked
from quant.networks.model import Model
from quant.quantise.calibration import activation_scales
from quant.quantise.equalisation import equalise
from quant.quantise.integer_network import quantise

__all__ = ["quantised_network"]

_BATCH = 32


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
    batches = [model.normalise(pixels) for pixels, _ in calibration.batches(_BATCH)]
    graph = equalise(lower_checked(module, batches[0]), batches)
    scales = activation_scales(graph, model, batches)
    return quantise(graph, scales, model, name=name, classes=classes)
