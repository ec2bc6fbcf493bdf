"""Runs a whole network on integers; hardware is compared with it.

The caller gets every layer's result as soon as it is computed, so a run over thousands of images
needs the memory of one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from golden import arithmetic
from golden.bundle import Bundle
from golden.layers import ConvResult, Predictor, conv, pool
from golden.manifest import ConcatNode, ConvNode, Node, PoolNode, ReshapeNode
from golden.node_walk import NodeWalk

__all__ = ["Network", "Step", "quantise_images"]


@dataclass(frozen=True)
class Step:
    """One layer's run.

    Parameters
    ----------
    node : Node
    ifm, ofm : int32 (images, channels, height, width)
        For a concatenation both are its inputs side by side.
    residual : int32 (images, channels, height, width) or None
    predictor : Predictor or None
        The predictor that a convolution ran with.
    result : ConvResult or None
        The intermediates of a convolution.
    """

    node: Node
    ifm: Tensor
    ofm: Tensor
    residual: Tensor | None = None
    predictor: Predictor | None = None
    result: ConvResult | None = None


def quantise_images(bundle: Bundle, images: Tensor) -> Tensor:
    """The network's int32 input from pixels 0 .. 1, float (images, channels, height, width).

    round((pixel - mean) / std / scale), halves to even, in float64, saturated to the input's range.
    """
    spec = bundle.manifest.input
    activation = bundle.manifest.activations[spec.tensor]
    mean = torch.tensor(spec.mean, dtype=torch.float64).view(-1, 1, 1)
    step = torch.tensor(spec.std, dtype=torch.float64).view(-1, 1, 1) * activation.scale
    levels = ((images.to(torch.float64) - mean) / step).round()
    # A level may be too large for an integer, so that it saturates first.
    return arithmetic.saturate(levels, arithmetic.activation_range(activation.signed)).int()


class Network:
    """Runs a bundle.

    Parameters
    ----------
    bundle : Bundle
    predictors : {layer name: Predictor}
        The layers that run with ZAP, from `Bundle.at` or `Bundle.uniform`; empty for the dense
        network.
    """

    def __init__(self, bundle: Bundle, predictors: Mapping[str, Predictor] | None = None) -> None:
        self.bundle = bundle
        self.predictors = dict(predictors or {})

    def steps(self, images: Tensor) -> Iterator[Step]:
        """Run quantised images, int32 (images, channels, height, width), layer by layer."""
        manifest = self.bundle.manifest
        walk = NodeWalk(manifest.layers, {manifest.input.tensor: images}, manifest.output)
        for node, (ifm, *others) in walk:
            if isinstance(node, ConcatNode):
                ofm = torch.cat([ifm, *others], 1)
                step = Step(node, ofm, ofm)
            elif isinstance(node, PoolNode):
                step = Step(node, ifm, pool(self.bundle.pool(node), ifm))
            elif isinstance(node, ReshapeNode):
                _, height, width = manifest.activations[node.output].shape
                step = Step(node, ifm, ifm.reshape(*ifm.shape[:2], height, width))
            else:
                residual = others[0] if others else None
                result = self.convolve(node, ifm, residual)
                step = Step(node, ifm, result.ofm, residual, self.predictors.get(node.name), result)
            walk.store(step.ofm)
            yield step

    def convolve(self, node: ConvNode, ifm: Tensor, residual: Tensor | None) -> ConvResult:
        """Run one convolution. A network that skips in another way than ZAP overrides it."""
        return conv(self.bundle.conv(node), ifm, self.predictors.get(node.name), residual)

    def __call__(self, images: Tensor) -> Tensor:
        """The integer logits (images, classes) of quantised images; the class is their argmax."""
        return self.outputs(images)[self.bundle.manifest.output].flatten(1)

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """All that the network returns, by name: int32 (images, channels, height, width)."""
        wanted = self.bundle.manifest.outputs
        return {
            step.node.output: step.ofm for step in self.steps(images) if step.node.output in wanted
        }
