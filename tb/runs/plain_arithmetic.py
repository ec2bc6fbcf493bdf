"""A second golden model, written plainly from `docs/reference/arithmetic.md`.

Everything is a sum of products of 64-bit integers over windows that numpy cuts out. It is slow, and
shares no arithmetic with `golden`, which works in floats wherever they are exact.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from golden.bundle import Bundle
from golden.layers import Conv, Pool, Predictor
from golden.manifest import ConcatNode, ConvNode, PoolNode, ReshapeNode
from golden.padding import Padding

__all__ = ["run_plainly"]


def run_plainly(
    bundle: Bundle, predictors: Mapping[str, Predictor], image: np.ndarray
) -> dict[str, np.ndarray]:
    """Return every tensor of a network, int64 (channels, height, width), for a quantised image."""
    tensors = {bundle.manifest.input.tensor: image.astype(np.int64)}
    for node in bundle.manifest.layers:
        operands = [tensors[name] for name in node.reads]
        if isinstance(node, ConcatNode):
            ofm = np.concatenate(operands)
        elif isinstance(node, ReshapeNode):
            ofm = operands[0].reshape(bundle.manifest.activations[node.output].shape)
        elif isinstance(node, PoolNode):
            ofm = _pool(bundle.pool(node), operands[0])
        else:
            assert isinstance(node, ConvNode)
            ofm = _convolve(bundle.conv(node), *operands)
            if node.name in predictors:
                ofm = _skip(predictors[node.name], ofm)
        tensors[node.output] = ofm
    return tensors


def _windows(
    ifm: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], padding: Padding, fill: int
) -> np.ndarray:
    """The windows of a padded map: (channels, height, width, k_h, k_w). Negative padding cuts."""
    top, bottom, left, right = (max(side, 0) for side in padding)
    padded = np.pad(ifm, ((0, 0), (top, bottom), (left, right)), constant_values=fill)
    top, bottom, left, right = (max(-side, 0) for side in padding)
    _, height, width = padded.shape
    kept = padded[:, top : height - bottom, left : width - right]
    return sliding_window_view(kept, kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]


def _column(values: object) -> np.ndarray:
    """Numbers of channels, to stand beside maps."""
    return np.asarray(values).astype(np.int64).reshape(-1, 1, 1)


def _rounded(values: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """values / 2^shift, to nearest, halves upwards."""
    return (values + (np.int64(1) << (shift - 1))) >> shift


def _convolve(layer: Conv, ifm: np.ndarray, residual: np.ndarray | None = None) -> np.ndarray:
    windows = _windows(ifm, layer.extent, layer.stride, layer.padding, 0)
    windows = windows[..., :: layer.dilation[0], :: layer.dilation[1]]
    weight = layer.weight.numpy().astype(np.int64)
    parts = zip(np.split(weight, layer.groups), np.split(windows, layer.groups), strict=True)
    sums = np.concatenate([np.einsum("zcij,cyxij->zyx", w, part) for w, part in parts])
    sums += _column(layer.bias)
    if layer.shortcut is not None:
        assert residual is not None
        first, step = layer.shortcut.channel_offset, layer.shortcut.stride
        picked = residual[:, ::step, ::step]
        channels = slice(first, first + len(picked))
        multiplier = _column(layer.shortcut.multiplier)[channels]
        shift = _column(layer.shortcut.shift)[channels]
        sums[channels] += _rounded(picked * multiplier, shift)
    saturated = sums.clip(-(2**31), 2**31 - 1)
    ofm = _rounded(saturated * _column(layer.multiplier), _column(layer.shift))
    return ofm.clip(-128, 127) if layer.signed_output else ofm.clip(0, 255)


def _pool(layer: Pool, ifm: np.ndarray) -> np.ndarray:
    fill = 0 if layer.average else -1000
    windows = _windows(ifm, layer.kernel, layer.stride, layer.padding, fill)
    if layer.average is None:
        return windows.max((3, 4))
    multiplier, shift = layer.average
    ofm = _rounded(windows.sum((3, 4)) * multiplier, np.array(shift))
    return ofm.clip(-128, 127) if layer.signed else ofm.clip(0, 255)


def _skip(predictor: Predictor, dense: np.ndarray) -> np.ndarray:
    computed = predictor.pattern.mask(*dense.shape[1:])
    hidden = _depthwise(dense * computed, predictor.weight1) + _column(predictor.bias1)
    shift = _column(predictor.shift1)
    hidden = ((hidden + ((np.int64(1) << shift) >> 1)) >> shift).clip(0, 255)
    kept = _depthwise(hidden, predictor.weight2) > _column(predictor.threshold)
    return dense * (computed | kept)


def _depthwise(ifm: np.ndarray, weight: object) -> np.ndarray:
    windows = _windows(ifm, (3, 3), (1, 1), (1, 1, 1, 1), 0)
    return np.einsum("zij,zyxij->zyx", np.asarray(weight).astype(np.int64), windows)
