"""The rounding that quantisation may add to each layer, as a bound on every activation.

A float layer is given what the integers before it stand for. What it computes may differ from what
the integers behind it stand for by the rounding of weights, bias, residual and result, and by no
more. A layer with a wrong scale, channel or limit exceeds that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from golden.arithmetic import activation_range
from golden.bundle import Bundle
from golden.manifest import ConvNode, PoolNode
from golden.network import Network, Step
from golden.padding import average_pool2d, conv2d
from quant.frontend.graph import ConvLayer, Graph, PoolLayer

__all__ = ["excess_rounding"]

_RELATIVE = 2.0**-14
"""A multiplier of 16 bits, and float arithmetic here, are better than that."""


@torch.no_grad()
def excess_rounding(graph: Graph, bundle: Bundle, images: Tensor) -> str | None:
    """Name the first layer whose integers are not a rounding of what the float layer computes.

    Parameters
    ----------
    graph : Graph
        The layers that `bundle` was quantised from, under the same names.
    bundle : Bundle
    images : int32 (images, channels, height, width)

    Returns None where every layer is.
    """
    layers = {layer.name: layer for layer in graph.layers}
    for step in Network(bundle).steps(images):
        layer = layers.get(step.node.name)
        if layer is None:
            return f"{step.node.name}: is no layer of the float graph"
        if isinstance(layer, ConvLayer | PoolLayer):
            excess = _excess(layer, bundle, step)
            if excess > 0:
                return f"{layer.name}: differs by {excess:.3g} of its scale more than by rounding"
    return None


def _excess(layer: ConvLayer | PoolLayer, bundle: Bundle, step: Step) -> float:
    """The largest difference beyond the rounding that is allowed, as a share of the scale."""
    activations = bundle.manifest.activations
    scale = activations[step.node.output].scale
    ifm = step.ifm.double() * activations[layer.input].scale
    if isinstance(layer, PoolLayer):
        if layer.op == "max_pool":
            return 0.0
        assert isinstance(step.node, PoolNode)
        exact = average_pool2d(ifm, layer.kernel, layer.stride, layer.padding)
        allowed = torch.zeros_like(exact)
    else:
        assert isinstance(step.node, ConvNode)
        exact, allowed = _convolved(layer, bundle, step, ifm)
    low, high = activation_range(activations[step.node.output].signed)
    if isinstance(layer, ConvLayer) and layer.relu:
        exact = exact.clamp(0, layer.ceiling)
    exact = (exact / scale).clamp(low, high)
    allowed = allowed / scale + exact.abs() * _RELATIVE + 0.5 + _RELATIVE
    return float(((step.ofm.double() - exact).abs() - allowed).max())


def _convolved(layer: ConvLayer, bundle: Bundle, step: Step, ifm: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of a convolution, and by how much those of integers may differ from them."""
    assert isinstance(step.node, ConvNode)
    conv = bundle.conv(step.node)
    activations = bundle.manifest.activations
    ratio = conv.multiplier.double() / torch.pow(2.0, conv.shift.double())
    # A sum's unit is what requantisation turns into units of the ofm.
    unit = (ratio * activations[step.node.output].scale).view(-1, 1, 1)
    weight, bias = layer.weight.double(), layer.bias.double()
    sums = conv2d(ifm, weight, bias, layer.stride, layer.padding, layer.groups, layer.dilation)
    # Half a unit for each weight that is not exactly zero, and for the bias.
    half = 0.5 * unit.view(-1, 1, 1, 1) / activations[layer.input].scale
    rounded = (weight != 0).double() * half
    allowed = (
        conv2d(ifm.abs(), rounded, None, layer.stride, layer.padding, layer.groups, layer.dilation)
        + unit
    )
    if layer.residual is not None:
        assert conv.shortcut is not None
        assert step.residual is not None
        residual = step.residual.double() * activations[layer.residual.input].scale
        placed = torch.zeros_like(sums)
        layer.residual.add_to(placed, residual)
        sums += placed
        allowed += unit + placed.abs() * _RELATIVE
    return sums, allowed + sums.abs() * _RELATIVE
