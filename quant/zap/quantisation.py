"""Quantisation of a trained ZAP to the integers of `golden.layers.Predictor`.

BatchNorm is folded into the convolutions, its sign included. With x = s_x * integer, the predictor
is

    hidden = relu(w1 * x + b1)        s_hidden = s_x * s_w1 * 2**shift
    score  = w2 * hidden + b2         score_scale = s_hidden * s_w2, score_offset = b2

The hidden activation is requantised by a shift alone. To fit its range to eight bits, only s_w1 is
left to choose: it lies between the finest scale that covers the largest weight and twice that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden import arithmetic
from golden.arithmetic import U8
from golden.bundle import Bundle
from golden.layers import mask
from golden.manifest import PredictorNode
from golden.network import Network, quantise_images
from quant.data.images import ImageSet
from quant.quantise.calibration import Histogram
from quant.quantise.integer_network import WEIGHT_BITS, quantise_weight
from quant.runtime.batch_size import batch_size
from quant.zap.predictor import Site, Zap

__all__ = ["Folded", "add_zaps", "fold", "quantise_zap"]

_LARGEST_BIAS1 = 2.0 ** (arithmetic.BIAS1_BITS - 1) - 1
_SMALLEST_WEIGHT = 1e-6
"""Stands for the largest weight of a channel whose weights are all zero."""


@dataclass(frozen=True)
class Folded:
    """A ZAP without BN: weights float64 (channels, 3, 3), biases (channels,)."""

    weight1: np.ndarray
    bias1: np.ndarray
    weight2: np.ndarray
    bias2: np.ndarray


def add_zaps(
    bundle: Bundle, zaps: Mapping[Site, Zap], image_set: ImageSet, *, bits: int = WEIGHT_BITS
) -> Bundle:
    """Return the bundle with these predictors, quantised for the ranges seen on `image_set`.

    `bits` is the width of their weights, at most 8.
    """
    folded = {site: fold(zap) for site, zap in zaps.items()}
    ranges = _hidden_ranges(bundle, folded, image_set)
    nodes = dict(bundle.manifest.predictors)
    tensors = dict(bundle.tensors)
    for site in zaps:
        nodes[site.name] = PredictorNode(layer=site.layer, pattern=str(site.pattern))
        fields = quantise_zap(folded[site], ranges[site], _scale(bundle, site), bits)
        tensors |= {f"predictors.{site.name}.{field}": fields[field] for field in fields}
    return Bundle(bundle.manifest.model_copy(update={"predictors": nodes}), tensors)


def quantise_zap(
    folded: Folded, hidden_range: np.ndarray, scale: float, bits: int = WEIGHT_BITS
) -> dict[str, Tensor]:
    """Return a predictor's tensors, by the last part of their name in a bundle.

    Hidden activations are clipped to `hidden_range`, (channels,); `scale` is s_x.
    """
    limit = (1 << bits - 1) - 1
    finest = np.maximum(
        _finest_scale(folded.weight1, limit), np.abs(folded.bias1) / scale / _LARGEST_BIAS1
    )
    shift = np.floor(np.log2(np.maximum(hidden_range / (U8[1] * scale * finest), 1)))
    shift = shift.clip(0, arithmetic.PREDICTOR_SHIFT_MAX)
    scale1 = np.maximum(finest, hidden_range / (U8[1] * scale * 2**shift))
    scale2 = _finest_scale(folded.weight2, limit)
    return {
        "weight1": quantise_weight(folded.weight1, scale1),
        "bias1": torch.from_numpy(np.rint(folded.bias1 / (scale * scale1)).astype(np.int32)),
        "shift1": torch.from_numpy(shift.astype(np.int32)),
        "weight2": quantise_weight(folded.weight2, scale2),
        "score_scale": torch.from_numpy(scale * scale1 * 2**shift * scale2),
        "score_offset": torch.from_numpy(folded.bias2),
    }


def fold(zap: Zap) -> Folded:
    """Return the same predictor without BN."""
    return Folded(*_fold_conv(zap.conv1, zap.bn1), *_fold_conv(zap.conv2, zap.bn2))


def _fold_conv(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    with torch.no_grad():
        gain = bn.weight.double() * (bn.running_var.double() + bn.eps).rsqrt()
        weight = conv.weight.double().squeeze(1) * gain.view(-1, 1, 1)
        bias = bn.bias.double() - bn.running_mean.double() * gain
    return weight.numpy(), bias.numpy()


def _finest_scale(weight: np.ndarray, limit: int) -> np.ndarray:
    """Return each channel's finest scale that covers its weights with integers up to `limit`."""
    return np.maximum(np.abs(weight).max((1, 2)), _SMALLEST_WEIGHT) / limit


def _hidden_ranges(
    bundle: Bundle, folded: Mapping[Site, Folded], image_set: ImageSet
) -> dict[Site, np.ndarray]:
    """Return the range of each channel's hidden activations with the least error in eight bits."""
    maxima: dict[Site, Tensor] = {}
    for site, hidden in _hidden(bundle, folded, image_set):
        largest = hidden.amax(1)
        maxima[site] = torch.maximum(maxima.get(site, largest), largest)
    histograms = {site: Histogram(maximum) for site, maximum in maxima.items()}
    for site, hidden in _hidden(bundle, folded, image_set):
        histograms[site].add(hidden)
    return {site: histogram.best_range(U8[1]).numpy() for site, histogram in histograms.items()}


def _hidden(
    bundle: Bundle, folded: Mapping[Site, Folded], image_set: ImageSet
) -> Iterator[tuple[Site, Tensor]]:
    """Compute real hidden activations of every site, (channels, all others), a batch at a time."""
    for pixels, _ in image_set.batches(batch_size(bundle)):
        for step in Network(bundle).steps(quantise_images(bundle, pixels)):
            for site in folded:
                if site.layer == step.node.name:
                    computed = mask(site.pattern, step.ofm)
                    weight = torch.from_numpy(folded[site].weight1).float().unsqueeze(1)
                    bias = torch.from_numpy(folded[site].bias1).float()
                    partial = (step.ofm * computed).float() * _scale(bundle, site)
                    ofm = F.conv2d(partial, weight, bias, padding=1, groups=len(weight))
                    yield site, ofm.relu_().transpose(0, 1).flatten(1)


def _scale(bundle: Bundle, site: Site) -> float:
    """Return the scale of the site's ofm."""
    layer = next(node for node in bundle.manifest.layers if node.name == site.layer)
    return bundle.manifest.activations[layer.output].scale
