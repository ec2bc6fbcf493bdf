"""BatchNorm and arithmetic with constants become part of a convolution's weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quant.frontend.operations import (
    Affine,
    Convolution,
    Dropout,
    Flatten,
    Linear,
    Network,
    Operation,
    TransposedConvolution,
)

__all__ = ["fold_affine"]

_Weighted = Convolution | Linear
_Foldable = _Weighted | TransposedConvolution


def fold_affine(network: Network) -> None:
    """Fold each `Affine` into the layer before it, else into those after it.

    Where neither can take it, it becomes a convolution of its own, 1x1 and of one channel each.
    """
    for affine in [o for o in network.operations if isinstance(o, Affine)]:
        maker = network.maker(affine)
        if maker is not None and network.read_once(maker.name):
            if isinstance(maker, Affine):
                affine.offset = affine.offset + maker.offset.to(affine.gain) * affine.gain
                affine.gain = affine.gain * maker.gain.to(affine.gain)
                network.remove(maker)
                maker = network.maker(affine)
            if isinstance(maker, _Foldable) and network.read_once(maker.name):
                _fold_back(maker, affine)
                maker.stands_for = affine.stands_for
                network.remove(affine)
                continue
        readers = _readers(network, affine)
        if readers and all(_takes(affine, reader) for reader in readers):
            for reader in readers:
                _fold_forward(reader, affine)
            network.remove(affine)
        else:
            network.replace(affine, _convolution(affine))


def _fold_back(layer: _Foldable, affine: Affine) -> None:
    """Let a layer compute what the affine operation after it makes of its results."""
    gain = affine.gain.to(layer.weight.device)
    shape = (-1,) + (1,) * (layer.weight.ndim - 1)
    weight, bias = layer.weight.double(), layer.bias.double()
    gains = gain.view(shape)
    if isinstance(layer, TransposedConvolution):
        inputs = len(weight) // layer.groups
        gains = gain.view(layer.groups, 1, -1).expand(-1, inputs, -1).flatten(0, 1)[..., None, None]
    layer.weight = (weight * gains).to(layer.weight.dtype)
    layer.bias = (bias * gain + affine.offset.to(gain)).to(layer.bias.dtype)


def _readers(network: Network, affine: Affine) -> list[Operation]:
    """The operations that read the result, looked at through flattening and dropout.

    Empty where the caller sees it, or where what flattens it does not have it alone.
    """
    found: list[Operation] = []
    names = [affine.name]
    while names:
        name = names.pop()
        if network.returns(name):
            return []
        for reader in network.readers(name):
            if isinstance(reader, Flatten | Dropout):
                names.append(reader.name)
            else:
                found.append(reader)
    return found


def _takes(affine: Affine, reader: Operation) -> bool:
    if isinstance(reader, Convolution):
        return not any(reader.padding) or not bool(affine.offset.any())
    return isinstance(reader, Linear)


def _fold_forward(layer: Operation, affine: Affine) -> None:
    """Let a layer compute from the affine operation's input what it computed from its result."""
    assert isinstance(layer, _Weighted)
    gain, offset = (v.to(layer.weight.device) for v in (affine.gain, affine.offset))
    weight, bias = layer.weight.double(), layer.bias.double()
    if isinstance(layer, Linear):
        repeats = weight.shape[1] // len(gain)
        gain, offset = (v.repeat_interleave(repeats) for v in (gain, offset))
        layer.bias = (bias + weight @ offset).to(layer.bias.dtype)
        layer.weight = (weight * gain).to(layer.weight.dtype)
        return
    gains = _by_group(gain, layer)
    layer.bias = (bias + (weight * _by_group(offset, layer)).sum((1, 2, 3))).to(layer.bias.dtype)
    layer.weight = (weight * gains).to(layer.weight.dtype)


def _by_group(values: Tensor, layer: Convolution) -> Tensor:
    """A value for each input channel, as (c_o, c_i / groups, 1, 1): that of each weight."""
    groups = values.view(layer.groups, -1)
    return groups.repeat_interleave(len(layer.weight) // layer.groups, 0)[:, :, None, None]


def _convolution(affine: Affine) -> Operation:
    common: dict[str, Any] = {
        "name": affine.name,
        "inputs": affine.inputs,
        "shape": affine.shape,
        "where": affine.where,
        "stands_for": affine.stands_for,
    }
    gain, offset = affine.gain.float(), affine.offset.float()
    if len(affine.shape) == 1:
        return Linear(**common, weight=torch.diag(gain), bias=offset)
    weight = gain.view(-1, 1, 1, 1)
    return Convolution(**common, weight=weight, bias=offset, groups=len(gain))
