"""The integer network of a definition alone: no images, no training, weights as they come.

Its shapes are those of the real network, so it tells whether a core holds it and how many cycles it
takes. What it computes means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from golden.bundle import Bundle
from golden.errors import UserError
from quant.frontend.lowering import lower_checked
from quant.frontend.onnx.open_file import import_onnx
from quant.networks.model import Model
from quant.networks.own_models import build_own, input_channels, own_model, safe_name
from quant.networks.registry import INPUTS, MODELS
from quant.quantise.integer_network import quantise

__all__ = ["Definition", "definition", "shaped_network"]

_SEED = 1
_IMAGES = 2
"""Random images that the lowered network is compared with its module on."""


@dataclass(frozen=True)
class Definition:
    """A module in eval mode, and (channels, height, width) of its images."""

    model: Model
    module: nn.Module
    shape: tuple[int, int, int]


def shaped_network(
    name: str, shape: tuple[int, int, int] | None = None, classes: int | None = None
) -> Bundle:
    """Return the integer network of a definition; every tensor has the scale 1.

    Parameters
    ----------
    name : str
        As for --model: a built-in network, FILE.py:NAME, package.module:NAME or FILE.onnx.
    shape : (channels, height, width), optional
        Of an image. A built-in network and most ONNX files bring it along.
    classes : int, optional
        The number of classes, for a network that is built for one.

    Raises UserError where the shape is needed, and as
    `quant.frontend.lowering.lower_checked` does.
    """
    torch.manual_seed(_SEED)
    network = definition(name, shape, classes)
    graph = lower_checked(network.module, torch.rand(_IMAGES, *network.shape))
    outputs = graph.shapes[graph.output][0]
    return quantise(
        graph,
        dict.fromkeys(graph.shapes, 1.0),
        network.model,
        name=safe_name(name),
        classes=[str(number) for number in range(outputs)],
    )


def definition(name: str, shape: tuple[int, int, int] | None, classes: int | None) -> Definition:
    """Build the module that a name stands for; arguments and errors are as for `shaped_network`."""
    if name in MODELS:
        model = MODELS[name]
        own_shape, own_classes = INPUTS[model.dataset]
        shape = shape or own_shape
        model.check_channels(shape, "x".join(map(str, shape)))
        return Definition(model, model.build(classes or own_classes).eval(), shape)
    if name.endswith(".onnx"):
        module: nn.Module = import_onnx(Path(name), shape)
        shape = module.shape  # type: ignore[assignment]
    else:
        module = build_own(name, classes)
    if shape is None:
        raise UserError(
            f"{name}: give the shape of its images with --shape, for example "
            f"{input_channels(module)}x224x224"
        )
    channels = shape[0]
    return Definition(own_model(module, (0.0,) * channels, (1.0,) * channels), module, shape)
