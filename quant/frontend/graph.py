"""The graph of float layers that lies between a PyTorch module and a bundle.

Layers are in an order in which they can run. They correspond to the nodes of a bundle, but have
real-valued weights: BatchNorm is folded, and ReLU and residual additions belong to the convolution
that feeds them. A tensor has the name of the layer that writes it; the network's input is `INPUT`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from golden.padding import NO_PADDING, Padding, average_pool2d, conv2d, max_pool2d
from golden.zap_sites import select_zap_sites
from quant.frontend.operations import INPUT, Output

__all__ = [
    "INPUT",
    "ConcatLayer",
    "ConvLayer",
    "Graph",
    "Layer",
    "PoolLayer",
    "ReshapeLayer",
    "Residual",
]


@dataclass
class Residual:
    """A tensor that is added to the sums of a convolution; see `golden.layers.Shortcut`.

    Each of its channels is multiplied by its `gain` before, (channels,); None stands for 1.
    """

    input: str
    stride: int = 1
    channel_offset: int = 0
    gain: Tensor | None = None

    def add_to(self, ofm: Tensor, tensor: Tensor) -> None:
        """Add the residual `tensor` to the channels of `ofm` that it has, in place."""
        first, step = self.channel_offset, self.stride
        picked = tensor[:, :, ::step, ::step]
        if self.gain is not None:
            picked = picked * self.gain.to(picked).view(-1, 1, 1)
        ofm[:, first : first + tensor.shape[1]] += picked


@dataclass
class ConvLayer:
    """A convolution. A fully connected layer is one whose kernel covers its whole input.

    Parameters
    ----------
    weight : float (c_o, c_i / groups, k_h, k_w)
    bias : float (c_o,)
    stride : (vertical, horizontal)
    padding : (top, bottom, left, right)
        Negative numbers leave out rows and columns of the input.
    dilation : (vertical, horizontal)
    groups : int
        Equal parts of the input channels that are convolved apart.
    relu : bool
        The ofm is clamped at 0 and never negative.
    residual : Residual or None
        The tensor that is added before the ReLU.
    ceiling : float
        With `relu`, what the ofm is limited to: 6 for a ReLU6.
    keeps_scale : bool
        Its ofm has the scale of its input and of its residual, whose numbers it copies.
    dropout : float
        The share of the layer's input that training sets to zero.
    """

    name: str
    input: str
    weight: Tensor
    bias: Tensor
    stride: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    relu: bool = False
    ceiling: float = math.inf
    residual: Residual | None = None
    fully_connected: bool = False
    keeps_scale: bool = False
    dropout: float = 0

    @property
    def macs_per_activation(self) -> int:
        """The number of multiply-accumulates for one activation of the ofm."""
        return self.weight[0].numel()


@dataclass
class PoolLayer:
    """Max pooling, or average pooling that counts the zeros of its padding.

    `padding` is (top, bottom, left, right).
    """

    op: Literal["max_pool", "average_pool"]
    name: str
    input: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding = NO_PADDING


@dataclass
class ConcatLayer:
    """Concatenates the channels of several tensors."""

    name: str
    inputs: list[str]


@dataclass
class ReshapeLayer:
    """A tensor with another (height, width), whose pixels in raster order are the same."""

    name: str
    input: str
    size: tuple[int, int]


Layer = ConvLayer | PoolLayer | ConcatLayer | ReshapeLayer


@dataclass
class Graph:
    """A whole float network.

    `shapes` holds (channels, height, width) of every tensor; `outputs` are what the network
    returns, the logits first. A layer's ofm is the tensor `stands_for[layer]` of the imported
    network (`quant.frontend.operations`), where there is one.
    """

    layers: list[Layer] = field(default_factory=list)
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    stands_for: dict[str, str | None] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The tensor of the first output: the logits."""
        return self.outputs[0].tensor

    @property
    def on_host(self) -> list[str]:
        """The kinds of the operations that the host computes from the first output."""
        return [operation.kind for operation in self.outputs[0].on_host]

    def layer(self, name: str) -> Layer:
        """Return the layer that writes tensor `name`."""
        return next(layer for layer in self.layers if layer.name == name)

    def signed(self, name: str) -> bool:
        """Return whether tensor `name` may be negative, because no ReLU clamped all of it."""
        return not all(layer.relu for layer in self.origins(name))

    def origins(self, name: str) -> list[ConvLayer]:
        """Return the convolutions whose results are in tensor `name`, pooled or concatenated."""
        layer = self.layer(name)
        if isinstance(layer, ConvLayer):
            return [layer]
        inputs = layer.inputs if isinstance(layer, ConcatLayer) else [layer.input]
        return [origin for tensor in inputs for origin in self.origins(tensor)]

    def scale_sources(self, name: str) -> list[ConvLayer | PoolLayer]:
        """Return the layers that requantise the numbers in tensor `name`.

        They are convolutions and average poolings. Others hand on integers.
        """
        layer = self.layer(name)
        if isinstance(layer, ConvLayer) or (
            isinstance(layer, PoolLayer) and layer.op == "average_pool"
        ):
            return [layer]
        inputs = layer.inputs if isinstance(layer, ConcatLayer) else [layer.input]
        return [source for tensor in inputs for source in self.scale_sources(tensor)]

    def scale_groups(self) -> dict[str, str]:
        """Group the layers that share one scale: results that meet in a concat, and their copies.

        Returns a dict: each layer that requantises -> the layer that stands for its group.
        """
        groups = {
            layer.name: layer.name
            for layer in self.layers
            if [source.name for source in self.scale_sources(layer.name)] == [layer.name]
        }
        for layer in self.layers:
            names = []
            if isinstance(layer, ConcatLayer):
                names = [layer.name]
            elif isinstance(layer, ConvLayer) and layer.keeps_scale:
                names = [layer.name, layer.input]
                names += [layer.residual.input] if layer.residual is not None else []
            joined = {groups[source.name] for name in names for source in self.scale_sources(name)}
            first = min(joined, default="")
            groups = {name: first if of in joined else of for name, of in groups.items()}
        return groups

    def zap_sites(self) -> list[ConvLayer]:
        """Return the layers that can have a ZAP, by the rule of `golden.zap_sites`."""
        convolutions = [layer for layer in self.layers if isinstance(layer, ConvLayer)]
        return select_zap_sites(convolutions, lambda layer: layer.relu)

    def dropout(self) -> dict[str, float]:
        """The share of its input that training sets to zero, for each layer that has dropout."""
        layers = (layer for layer in self.layers if isinstance(layer, ConvLayer))
        return {layer.name: layer.dropout for layer in layers if layer.dropout}

    @torch.no_grad()
    def run(self, images: Tensor) -> Iterator[tuple[Layer, Tensor]]:
        """Run normalised images (n, channels, h, w); yield every layer with its float ofm."""
        tensors = {INPUT: images}
        for layer in self.layers:
            if isinstance(layer, ConcatLayer):
                ofm = torch.cat([tensors[name] for name in layer.inputs], 1)
            elif isinstance(layer, PoolLayer):
                pool = max_pool2d if layer.op == "max_pool" else average_pool2d
                ofm = pool(tensors[layer.input], layer.kernel, layer.stride, layer.padding)
            elif isinstance(layer, ReshapeLayer):
                ofm = tensors[layer.input].reshape(*tensors[layer.input].shape[:2], *layer.size)
            else:
                ifm = tensors[layer.input]
                ofm = conv2d(
                    ifm,
                    layer.weight,
                    layer.bias,
                    layer.stride,
                    layer.padding,
                    layer.groups,
                    layer.dilation,
                )
                if layer.residual is not None:
                    layer.residual.add_to(ofm, tensors[layer.residual.input])
                if layer.relu:
                    ofm = ofm.clamp_(0, layer.ceiling)
            tensors[layer.name] = ofm
            yield layer, ofm
