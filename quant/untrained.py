"""A bundle of a network that nobody trained: seeded random weights, predictors fitted to them.

    python -m quant.untrained --model resnet18 [--seed 1] [--out DIR]

For simulating and measuring networks whose weights are not at hand: shapes and arithmetic are those
of the real network, and about as many activations are zero. The predictors learn from a few random
textures (`quant.data.textures`), so how much they skip says nothing about the trained network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from golden.bundle import Bundle, check_replaceable
from golden.errors import UserError, run_cli
from golden.pattern import MASKS
from quant.data.registry import load
from quant.export import add_operating_point
from quant.frontend.lowering import lower
from quant.networks.registry import MODELS
from quant.quantise.calibration import activation_scales
from quant.quantise.integer_network import quantise
from quant.runtime.threads import suit_threads
from quant.zap.quantisation import add_zaps
from quant.zap.training import Site, train_zaps

__all__ = ["untrained"]

_INPUTS = {"cifar10": (32, 10), "cifar100": (32, 100), "imagenet": (224, 1000)}
"""Of the datasets that models are for: size of an image, number of classes."""
_PATTERN = MASKS["B"]
_IMAGES = 4
"""The predictors learn from so many, again and again."""
_EPOCHS = 12
_BATCH = 4


def untrained(name: str, seed: int) -> Bundle:
    """The bundle of a built-in network, with the operating point `default`.

    Raises UserError for one that takes no photographs.
    """
    model = MODELS[name]
    if model.dataset not in _INPUTS:
        raise UserError(f"{name} is trained in seconds: make it with python quant/export.py")
    size, classes = _INPUTS[model.dataset]
    dataset = load(f"textures-{size}", None)
    suit_threads(dataset.shape)
    torch.manual_seed(seed)
    module = model.build(classes).eval()
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    graph = lower(module, dataset.shape)
    images = dataset.train.first(_IMAGES)
    batches = [model.normalise(pixels) for pixels, _ in images.batches(_BATCH)]
    with torch.no_grad():
        scales = activation_scales(graph, model, batches)
    labels = [str(number) for number in range(classes)]
    bundle = quantise(graph, scales, model, name=name, classes=labels)
    sites = [Site(layer.name, _PATTERN) for layer in graph.zap_sites()]
    zaps = train_zaps(bundle, sites, images, epochs=_EPOCHS, seed=seed)
    bundle = add_zaps(bundle, zaps, images)
    choices = {site.layer: (site.pattern, model.sigma) for site in sites}
    bundle = add_operating_point(bundle, "default", choices)
    provenance = {"model": name, "dataset": dataset.name, "seed": seed}
    manifest = bundle.manifest.model_copy(update={"provenance": provenance})
    return Bundle(manifest, bundle.tensors)


def main() -> None:
    parser = argparse.ArgumentParser(prog="quant.untrained", description=__doc__.splitlines()[0])
    names = sorted(name for name, model in MODELS.items() if model.dataset in _INPUTS)
    parser.add_argument("--model", choices=names, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="default: build/MODEL-untrained")
    arguments = parser.parse_args()
    out = arguments.out or Path("build") / f"{arguments.model}-untrained"
    check_replaceable(out)
    untrained(arguments.model, arguments.seed).save(out)
    Console().print(f"wrote {out}")


if __name__ == "__main__":
    run_cli(main)
