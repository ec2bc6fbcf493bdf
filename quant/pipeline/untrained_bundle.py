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
from golden.errors import UserError
from golden.pattern import MASKS
from quant.data.registry import load
from quant.frontend.lowering import lower
from quant.networks.registry import INPUTS, MODELS
from quant.pipeline.quantised_network import quantised_network
from quant.points.operating_points import add_operating_point
from quant.runtime.threads import set_threads_for
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps

__all__ = ["UNTRAINED_MODELS", "untrained_bundle"]

_PHOTOGRAPHS = {name for name, ((channels, *_), _) in INPUTS.items() if channels == 3}
"""Datasets that random textures can stand for."""
UNTRAINED_MODELS = sorted(name for name, model in MODELS.items() if model.dataset in _PHOTOGRAPHS)
"""The built-in networks that `untrained_bundle` takes."""
_PATTERN = MASKS["B"]
_IMAGES = 4
"""The predictors learn from so many images, again and again."""
_EPOCHS = 12


def untrained_bundle(name: str, seed: int) -> Bundle:
    """Make the bundle of a built-in network, with the operating point `default`.

    Raises UserError for a network that takes no photographs.
    """
    model = MODELS[name]
    if model.dataset not in _PHOTOGRAPHS:
        raise UserError(f"{name} is trained in seconds: make it with python quant/export.py")
    (_, size, _), classes = INPUTS[model.dataset]
    dataset = load(f"textures-{size}", None)
    set_threads_for(dataset.shape)
    torch.manual_seed(seed)
    module = model.build(classes).eval()
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    images = dataset.train.first(_IMAGES)
    labels = [str(number) for number in range(classes)]
    bundle = quantised_network(module, model, images, name=name, classes=labels)
    sites = [Site(layer.name, _PATTERN) for layer in lower(module, dataset.shape).zap_sites()]
    zaps = train_zaps(bundle, sites, images, epochs=_EPOCHS, seed=seed)
    bundle = add_zaps(bundle, zaps, images)
    choices = {site.layer: (site.pattern, model.sigma) for site in sites}
    bundle = add_operating_point(bundle, "default", choices)
    provenance = {"model": name, "dataset": dataset.name, "seed": seed}
    manifest = bundle.manifest.model_copy(update={"provenance": provenance})
    return Bundle(manifest, bundle.tensors)
