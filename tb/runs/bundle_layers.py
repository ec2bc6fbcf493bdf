"""A bundle's convolutions as layers for the simulated engine.

Each layer reads golden's ifm, so layers can run in any order. If every layer is bit-exact, so is
the network: the ofm that a layer would hand on is golden's. What lies between two convolutions is
done by golden.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from compiler.lowering.pool_fusion import fused_pool
from golden.bundle import Bundle
from golden.layers import Predictor
from golden.manifest import ConvNode
from golden.network import Network, quantise_images
from hw.contract.config import Config
from tb.runs.engine import EngineLayer

__all__ = ["engine_layers"]


def engine_layers(
    bundle: Bundle,
    config: Config,
    pixels: Tensor,
    predictors: Mapping[str, Predictor],
    *,
    fuse: bool = True,
) -> list[EngineLayer]:
    """Prepare every convolution of a network, fully connected ones included, on one image.

    Parameters
    ----------
    pixels : float (channels, height, width) of 0 .. 1
    predictors : {layer name: Predictor}
        Those of the layers that run with ZAP.
    fuse : bool
        Whether a pooling that is the only reader of a convolution's ofm runs with it.

    Raises
    ------
    UserError
        If `config` cannot hold a layer.
    """
    activations = bundle.manifest.activations
    layers = []
    for step in Network(bundle, predictors).steps(quantise_images(bundle, pixels[None])):
        if isinstance(step.node, ConvNode):
            shortcut = step.node.shortcut
            pool = fused_pool(bundle.manifest, step.node) if fuse else None
            layers.append(
                EngineLayer.prepare(
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
