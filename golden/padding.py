"""Convolution and pooling of maps whose four sides may be padded or cut off differently.

PyTorch's own layers pad opposite sides alike, and a pooling by no more than half its window.
Where that is not enough, the map is padded first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ["NO_PADDING", "Padding", "average_pool2d", "conv2d", "max_pool2d", "padded", "windows"]

Padding = tuple[int, int, int, int]
"""Rows and columns beside a map: (top, bottom, left, right). A convolution's may be negative: then
so many of the map itself are left out."""

NO_PADDING: Padding = (0, 0, 0, 0)

_Pair = tuple[int, int]


def windows(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Padding
) -> _Pair:
    """The number of windows (vertically, horizontally) that fit into a padded map of that size."""
    height, width = size
    top, bottom, left, right = padding
    return (
        (height + top + bottom - kernel[0]) // stride[0] + 1,
        (width + left + right - kernel[1]) // stride[1] + 1,
    )


def conv2d(
    ifm: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: _Pair,
    padding: Padding,
    groups: int = 1,
    dilation: _Pair = (1, 1),
) -> Tensor:
    """Convolve maps (images, channels, height, width) padded with zeros, or cut off."""
    top, bottom, left, right = padding
    if (top, left) == (bottom, right) and min(padding) >= 0:
        return F.conv2d(ifm, weight, bias, stride, (top, left), dilation, groups)
    return F.conv2d(padded(ifm, padding, 0), weight, bias, stride, 0, dilation, groups)


def max_pool2d(ifm: Tensor, kernel: _Pair, stride: _Pair, padding: Padding) -> Tensor:
    """The largest number of each window. Padding is never the largest."""
    if _is_native(kernel, padding):
        return F.max_pool2d(ifm, kernel, stride, (padding[0], padding[2]))
    return F.max_pool2d(padded(ifm, padding, -math.inf), kernel, stride)


def average_pool2d(
    ifm: Tensor, kernel: _Pair, stride: _Pair, padding: Padding, *, divisor: int | None = None
) -> Tensor:
    """The sum of each window over `divisor`, or over the window's area; padding counts as zeros."""
    if _is_native(kernel, padding):
        sides = padding[0], padding[2]
        return F.avg_pool2d(ifm, kernel, stride, sides, divisor_override=divisor)
    return F.avg_pool2d(padded(ifm, padding, 0), kernel, stride, divisor_override=divisor)


def _is_native(kernel: _Pair, padding: Padding) -> bool:
    """Say whether PyTorch pads a pooling like this."""
    top, bottom, left, right = padding
    return (top, left) == (bottom, right) and 2 * top <= kernel[0] and 2 * left <= kernel[1]


def padded(ifm: Tensor, padding: Padding, value: float) -> Tensor:
    """Maps with so many rows and columns of `value` beside them, or with fewer of their own."""
    top, bottom, left, right = padding
    return F.pad(ifm, (left, right, top, bottom), value=value)
