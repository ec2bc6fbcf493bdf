"""BatchNorm recalibration of an integer network for what its ZAPs remove.

Predicted zeros shift the statistics of every later layer. The paper's authors estimate the running
mean and variance of each BatchNorm again with the ZAPs active. Here BN is folded, and what that
amounts to is done to the sums that it was folded into: channel by channel, with m and s the mean
and standard deviation of the sums before any residual, 0 without and 1 with ZAPs,

    sum' = (sum - m1) * s0 / s1 + m0

which is another bias and another scale, so the same hardware runs it. As both are measured on the
same images, a network without ZAPs stays exactly as it is, whatever the images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golden import arithmetic
from golden.bundle import Bundle
from golden.layers import Conv, Predictor, conv, pool
from golden.manifest import ConcatNode, PoolNode
from golden.network import Network, quantise_images
from quant.data import Split
from quant.progress import progress

__all__ = ["recalibrate"]

_LARGEST_GAIN = 4.0
"""A channel that nearly vanished is not brought back by more."""
_LARGEST_BIAS = 2.0 ** (arithmetic.ACC_BITS - 2)


def recalibrate(bundle: Bundle, predictors: Mapping[str, Predictor], split: Split) -> Bundle:
    """The bundle with its convolutions recalibrated for running with these predictors.

    Fully connected layers stay as they are. Layers are recalibrated in order, each on what the ones
    before it now make of the images of `split`, which are all held in memory at once.
    """
    images = quantise_images(bundle, split.pixels(slice(None)))
    tensors = dict(bundle.tensors)
    result = Bundle(bundle.manifest, tensors)
    maps = {bundle.manifest.input.tensor: images}
    layers = len(bundle.manifest.layers)
    for dense in progress(Network(bundle).steps(images), layers, "recalibrating"):
        node = dense.node
        ifm, *others = (maps[name] for name in node.reads)
        if isinstance(node, ConcatNode):
            maps[node.output] = torch.cat([ifm, *others], 1)
            continue
        if isinstance(node, PoolNode):
            maps[node.output] = pool(bundle.pool(node), ifm)
            continue
        if not node.fully_connected:
            layer = bundle.conv(node)
            fields = _recalibrated(layer, _sums(layer, dense.ifm), _sums(layer, ifm))
            tensors |= {f"layers.{node.name}.{field}": fields[field] for field in fields}
        residual = others[0] if others else None
        maps[node.output] = conv(result.conv(node), ifm, predictors.get(node.name), residual).ofm
    return result


def _sums(layer: Conv, ifm: Tensor) -> Tensor:
    """Float sums of each channel without residual, (c_o, all others)."""
    sums = F.conv2d(ifm.float(), layer.weight.float(), None, layer.stride, layer.padding)
    return sums.transpose(0, 1).flatten(1) + layer.bias.float().view(-1, 1)


def _recalibrated(layer: Conv, before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """The tensors that change, by the last part of their name in a bundle."""
    (s0, m0), (s1, m1) = (torch.std_mean(sums.double(), 1) for sums in (before, after))
    gain = torch.where((s0 > 0) & (s1 > 0), s0 / s1, 1).clip(1 / _LARGEST_GAIN, _LARGEST_GAIN)
    bias = (layer.bias + m0 / gain - m1).round().clip(-_LARGEST_BIAS, _LARGEST_BIAS)
    fields = {"bias": bias.to(torch.int32)}
    fields |= _scaled("", layer.multiplier, layer.shift, gain.numpy())
    if layer.shortcut is not None:
        shortcut = layer.shortcut
        fields |= _scaled("shortcut_", shortcut.multiplier, shortcut.shift, 1 / gain.numpy())
    return fields


def _scaled(
    prefix: str, multiplier: Tensor, shift: Tensor, factor: np.ndarray
) -> dict[str, Tensor]:
    """A requantisation times a real factor for each channel."""
    scale = np.ldexp(multiplier.double().numpy(), -shift.numpy()) * factor
    numbers = zip(("multiplier", "shift"), arithmetic.split_scale(scale))
    return {f"{prefix}{name}": torch.from_numpy(values) for name, values in numbers}
