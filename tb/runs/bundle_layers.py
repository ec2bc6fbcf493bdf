"""A bundle's convolutions as layers for the simulated engine, the host doing what lies between.

Each layer gets golden's ifm. If every layer is bit-exact on it, so is the network: the ofm that a
layer hands on is golden's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from compiler.pool_fusion import pool_after
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Predictor
from golden.manifest import ConvNode
from golden.network import Network, quantise_images
from hw.contract.config import Config
from quant.data.registry import DATASETS, load
from tb.runs.engine import Layer

__all__ = ["held_out_image", "network_layers"]


def network_layers(
    bundle: Bundle,
    config: Config,
    pixels: Tensor,
    predictors: Mapping[str, Predictor],
    *,
    fuse: bool = True,
) -> list[Layer]:
    """One layer for each convolution, fully connected ones included, on one image.

    With `fuse` a pooling that alone reads a convolution's ofm runs with it; others are the host's.

    `pixels`: float (channels, height, width) of 0 .. 1. Raises UserError where `config` cannot hold
    a layer.
    """
    activations = bundle.manifest.activations
    layers = []
    for step in Network(bundle, predictors).steps(quantise_images(bundle, pixels[None])):
        if isinstance(step.node, ConvNode):
            shortcut = step.node.shortcut
            pool = pool_after(bundle.manifest, step.node) if fuse else None
            layers.append(
                Layer.prepare(
                    config,
                    bundle.conv(step.node),
                    step.ifm[0],
                    ifm_signed=activations[step.node.input].signed,
                    residual=None if step.residual is None else step.residual[0],
                    residual_signed=shortcut is not None and activations[shortcut.input].signed,
                    predictor=step.predictor,
                    pool=None if pool is None else bundle.pool(pool),
                )
            )
    return layers


def held_out_image(bundle: Bundle, data: Path | None, index: int) -> tuple[Tensor, int]:
    """Pixels (channels, height, width) and label of an image that the bundle was not trained on."""
    dataset = str(bundle.manifest.provenance.get("dataset"))
    if dataset not in DATASETS:
        raise UserError(f"the bundle's dataset {dataset!r} is none of {', '.join(DATASETS)}")
    test = load(dataset, data).test
    if not 0 <= index < len(test):
        raise UserError(f"image {index}: {dataset} has held-out images 0 to {len(test) - 1}")
    return test.pixels(slice(index, index + 1))[0], int(test.labels[index])
