"""A bundle of a network that nobody trained: seeded random weights, predictors fitted to them.

Such bundles are for simulating and measuring networks whose weights are not at hand. Shapes and
arithmetic are those of the real network, and about as many activations are zero. The predictors
learn from a few random textures (`quant.data.textures`), so how much they skip says nothing about
the trained network.
"""

from __future__ import annotations

import torch
from torch import nn

from golden.bundle import Bundle
from golden.pattern import MASKS
from quant.data.images import ImageSet
from quant.data.textures import texture_images
from quant.frontend.imported import ImportedModule
from quant.frontend.lowering import lower
from quant.networks.own_models import safe_name
from quant.pipeline.quantised_network import quantised_network
from quant.pipeline.shaped_network import definition
from quant.points.operating_points import add_operating_point
from quant.runtime.threads import set_threads_for
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps

__all__ = ["untrained_bundle"]

_PATTERN = MASKS["B"]
_TEXTURES, _IMAGES = 40, 4
"""The predictors learn from the first few textures, again and again."""
_EPOCHS = 12


def untrained_bundle(
    name: str,
    seed: int,
    shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
) -> Bundle:
    """Make the bundle of a network with random weights, with the operating point `default`.

    An ONNX file keeps the weights that it has.

    Parameters
    ----------
    name : str
        As for --model: a built-in network, FILE.py:NAME, package.module:NAME or FILE.onnx.
    seed : int
        Of the weights and the predictors.
    shape : (channels, height, width), optional
        Of an image. A built-in network and most ONNX files bring it along.
    classes : int, optional
        The number of classes, for a network that is built for one.

    Raises UserError where the shape is needed, or where the network cannot be lowered.
    """
    torch.manual_seed(seed)
    network = definition(name, shape, classes)
    model, module, shape = network.model, network.module, network.shape
    set_threads_for(shape)
    if not isinstance(module, ImportedModule):
        _randomise(module)
    textures = texture_images(_TEXTURES, shape[1:], shape[0])[:_IMAGES]
    images = ImageSet(textures, torch.zeros(_IMAGES, dtype=torch.int64))
    graph = lower(module, shape)
    labels = [str(number) for number in range(graph.shapes[graph.output][0])]
    bundle = quantised_network(module, model, images, name=safe_name(name), classes=labels)
    sites = [Site(layer.name, _PATTERN) for layer in graph.zap_sites()]
    zaps = train_zaps(bundle, sites, images, epochs=_EPOCHS, seed=seed)
    bundle = add_zaps(bundle, zaps, images)
    choices = {site.layer: (site.pattern, model.sigma) for site in sites}
    bundle = add_operating_point(bundle, "default", choices)
    provenance = {"model": name, "dataset": f"textures-{shape[1]}", "seed": seed}
    manifest = bundle.manifest.model_copy(update={"provenance": provenance})
    return Bundle(manifest, bundle.tensors)


def _randomise(module: nn.Module) -> None:
    """Draw weights at which the activations of a ReLU network keep their size."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
