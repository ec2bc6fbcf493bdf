"""Runs a whole network as `golden.network` does, to the bit, in compiled code and 8-bit maps.

Maps stay in 8 bits for each activation, with the channels of a pixel side by side. A convolution's
sums are oneDNN's (`quant.native.sums`); the passes over its ofm are compiled kernels. Whatever is
not exact in these on this machine is left to golden, layer by layer or as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from golden.bundle import Bundle
from golden.layers import Counters, Predictor
from golden.manifest import ConcatNode, ConvNode, Node, PoolNode
from golden.node_walk import NodeWalk
from quant.native.check import is_exact
from quant.native.layers import NativeConv, as_map, dense, native_pool
from quant.native.library import Kernels, load_kernels

__all__ = ["NativeNetwork", "NativeStep", "checked_kernels", "native_network"]


@dataclass(frozen=True)
class NativeStep:
    """One layer's run. Maps are uint8 or int8 (images, channels, height, width), channels last.

    `counters` and `wrong`, the positive activations among the skipped ones, are a convolution's.
    """

    node: Node
    ifm: Tensor
    ofm: Tensor
    counters: Counters | None = None
    wrong: int = 0


class NativeNetwork:
    """Runs a bundle.

    Parameters
    ----------
    bundle : Bundle
    predictors : {layer name: Predictor}
        As for `golden.network.Network`.
    kernels : Kernels
    """

    def __init__(
        self, bundle: Bundle, predictors: Mapping[str, Predictor], kernels: Kernels
    ) -> None:
        self.bundle = bundle
        self.predictors = dict(predictors)
        activations = bundle.manifest.activations
        self._kernels = kernels
        self._signed = {name: tensor.signed for name, tensor in activations.items()}
        self._convs = {
            node.name: NativeConv(
                kernels,
                bundle.conv(node),
                activations[node.input].shape,
                self._signed[node.input],
                predictors.get(node.name),
            )
            for node in bundle.manifest.layers
            if isinstance(node, ConvNode)
        }

    @property
    def refused(self) -> list[str]:
        """The layers whose sums golden computes, as 8-bit arithmetic is not exact for them."""
        return [name for name, conv in self._convs.items() if not conv.in_integers]

    def steps(self, images: Tensor) -> Iterator[NativeStep]:
        """Run quantised images, int32 (images, channels, height, width), layer by layer."""
        manifest = self.bundle.manifest
        first = as_map(images, self._signed[manifest.input.tensor])
        walk = NodeWalk(manifest.layers, {manifest.input.tensor: first}, manifest.output)
        for node, (ifm, *others) in walk:
            if isinstance(node, ConcatNode):
                ofm = dense(torch.cat([ifm, *others], 1))
                step = NativeStep(node, ofm, ofm)
            elif isinstance(node, PoolNode):
                step = NativeStep(
                    node, ifm, native_pool(self._kernels, self.bundle.pool(node), ifm)
                )
            elif isinstance(node, ConvNode):
                ofm, counters, wrong = self._convs[node.name](ifm, others[0] if others else None)
                step = NativeStep(node, ifm, ofm, counters, wrong)
            else:
                _, height, width = manifest.activations[node.output].shape
                step = NativeStep(node, ifm, dense(ifm.reshape(*ifm.shape[:2], height, width)))
            walk.store(step.ofm)
            yield step

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """All that the network returns, by name: int32 (images, channels, height, width)."""
        wanted = self.bundle.manifest.outputs
        return {
            step.node.output: step.ofm.to(torch.int32)
            for step in self.steps(images)
            if step.node.output in wanted
        }


def native_network(
    bundle: Bundle, predictors: Mapping[str, Predictor] | None = None
) -> NativeNetwork | None:
    """Return the network, or None where there are no kernels on this machine."""
    kernels = checked_kernels()
    return None if kernels is None else NativeNetwork(bundle, predictors or {}, kernels)


@cache
def checked_kernels() -> Kernels | None:
    """Return the kernels; None where they cannot be compiled or are not exact on this machine."""
    kernels = load_kernels()
    return kernels if kernels is not None and is_exact(kernels) else None
