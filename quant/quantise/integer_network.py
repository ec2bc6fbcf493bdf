"""Post-training quantisation: a float graph and its scales become a bundle without ZAPs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from golden import arithmetic
from golden.bundle import Bundle
from golden.manifest import (
    SCHEMA_VERSION,
    Activation,
    ConcatNode,
    ConvNode,
    Input,
    Manifest,
    Node,
    PoolNode,
    ReshapeNode,
    ShortcutNode,
)
from quant.frontend.graph import INPUT, ConvLayer, Graph, PoolLayer, ReshapeLayer, Residual
from quant.networks.model import Model
from quant.quantise.calibration import input_is_signed

__all__ = ["WEIGHT_BITS", "WEIGHT_MAX", "quantise", "quantise_weight"]

WEIGHT_BITS = 8
WEIGHT_MAX = (1 << WEIGHT_BITS - 1) - 1
"""Weights are symmetric: -128 is not used."""
_LARGEST_BIAS = 2.0 ** (arithmetic.ACC_BITS - 2)
"""The largest bias, a factor of two below the accumulator's limit."""
_LARGEST_RATIO = 2.0 ** (arithmetic.MULTIPLIER_BITS - arithmetic.SHIFT_MIN - 1)
"""The largest ratio of scales, a factor of two below what multiplier and shift can express."""


def quantise(
    graph: Graph, scales: dict[str, float], model: Model, *, name: str, classes: list[str]
) -> Bundle:
    """Return the bundle of a graph with these scales, without predictors and operating points.

    Weights are quantised symmetrically, with one scale for each output channel. Bias and residual
    have the scale of the sums.
    """
    signed = {layer.name: graph.signed(layer.name) for layer in graph.layers}
    signed[INPUT] = input_is_signed(model)
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    for layer in graph.layers:
        if isinstance(layer, ConvLayer):
            nodes.append(_conv_node(layer))
            tensors |= {
                f"layers.{layer.name}.{field}": tensor
                for field, tensor in _conv_tensors(layer, scales).items()
            }
        elif isinstance(layer, PoolLayer):
            nodes.append(_pool_node(layer, scales))
        elif isinstance(layer, ReshapeLayer):
            nodes.append(ReshapeNode(name=layer.name, input=layer.input, output=layer.name))
        else:
            nodes.append(ConcatNode(name=layer.name, inputs=layer.inputs, output=layer.name))
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        input=Input(tensor=INPUT, mean=list(model.mean), std=list(model.std)),
        output=graph.output,
        other_outputs=[output.tensor for output in graph.outputs[1:]],
        classes=classes,
        activations={
            tensor: Activation(shape=shape, signed=signed[tensor], scale=scales[tensor])
            for tensor, shape in graph.shapes.items()
        },
        layers=nodes,
    )
    return Bundle(manifest, tensors)


def quantise_weight(weight: np.ndarray, scale: np.ndarray) -> Tensor:
    """Round weights to int8, with one scale for each index of the first axis."""
    levels = np.rint(weight / scale.reshape(-1, *(1,) * (weight.ndim - 1)))
    return torch.from_numpy(levels.clip(-WEIGHT_MAX, WEIGHT_MAX).astype(np.int8))


def _conv_node(layer: ConvLayer) -> ConvNode:
    shortcut = None
    if layer.residual is not None:
        shortcut = ShortcutNode(
            input=layer.residual.input,
            stride=layer.residual.stride,
            channel_offset=layer.residual.channel_offset,
        )
    return ConvNode(
        name=layer.name,
        input=layer.input,
        output=layer.name,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        shortcut=shortcut,
        fully_connected=layer.fully_connected,
    )


def _pool_node(layer: PoolLayer, scales: dict[str, float]) -> PoolNode:
    multiplier = shift = None
    if layer.op == "average_pool":
        area = layer.kernel[0] * layer.kernel[1]
        ratio = scales[layer.input] / scales[layer.name]
        multipliers, shifts = _requantisation(np.array(ratio / area))
        multiplier, shift = int(multipliers), int(shifts)
    return PoolNode(
        op=layer.op,
        name=layer.name,
        input=layer.input,
        output=layer.name,
        kernel=layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        multiplier=multiplier,
        shift=shift,
    )


def _requantisation(ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return multiplier and shift of ratios of a sum's scale to its ofm's.

    Where an ofm was always zero, its scale is so fine that the ratio is too large. The largest
    ratio does the same then: any sum but zero saturates.
    """
    return arithmetic.split_scale(np.minimum(ratio, _LARGEST_RATIO))


def _gains(layer: ConvLayer, residual: Residual) -> np.ndarray:
    """Return the residual's gain for each channel of the ofm; 1 where it has no such channel."""
    gains = np.ones(len(layer.weight))
    if residual.gain is not None:
        first = residual.channel_offset
        gains[first : first + len(residual.gain)] = residual.gain.numpy()
    return gains


def _conv_tensors(layer: ConvLayer, scales: dict[str, float]) -> dict[str, Tensor]:
    """Return the tensors that the node needs, by the names of their fields.

    A channel's weight scale covers its largest weight. It is coarser only where bias or residual
    would not fit the accumulator otherwise, in a channel whose weights are nearly zero.
    """
    weight = layer.weight.double().numpy()
    bias = layer.bias.double().numpy()
    input_scale, output_scale = scales[layer.input], scales[layer.name]
    smallest = np.maximum(np.abs(bias) / _LARGEST_BIAS, output_scale / _LARGEST_BIAS)
    if layer.residual is not None:
        residual_scale = scales[layer.residual.input] * _gains(layer, layer.residual)
        smallest = np.maximum(smallest, residual_scale / _LARGEST_RATIO)
    weight_scale = np.abs(weight).max((1, 2, 3)) / WEIGHT_MAX
    weight_scale = np.maximum(weight_scale, smallest / input_scale)

    sum_scale = input_scale * weight_scale
    multiplier, shift = _requantisation(sum_scale / output_scale)
    tensors = {
        "weight": quantise_weight(weight, weight_scale),
        "bias": torch.from_numpy(np.rint(bias / sum_scale).astype(np.int32)),
        "multiplier": torch.from_numpy(multiplier),
        "shift": torch.from_numpy(shift),
    }
    if layer.residual is not None:
        multiplier, shift = arithmetic.split_scale(residual_scale / sum_scale)
        tensors["shortcut_multiplier"] = torch.from_numpy(multiplier)
        tensors["shortcut_shift"] = torch.from_numpy(shift)
    return tensors
