"""The sums of a convolution in 8-bit integer arithmetic, where that is exact.

oneDNN multiplies u8 by s8 several times as fast as floats. Processors without instructions for such
sums (VNNI, AMX) add pairs of products in 16 bits, which saturate. So each layer is compared with
golden on a few images that make its sums large, and is refused if it differs.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from golden.arithmetic import ceil_div
from golden.layers import EXACT_FLOAT32, Conv, exact_sums, is_column
from golden.padding import padded

__all__ = ["IntegerSums", "integer_sums"]

_CHECKED = 3
"""Images that a layer is compared on."""
_SIGN = 0x80


class IntegerSums:
    """A layer's convolution, without bias, of 8-bit maps.

    The result is float32. Where that does not hold a layer's sums, its input channels are divided,
    and the sums of the parts are added in float64.

    Parameters
    ----------
    layer : Conv
    signed : bool
        The ifm is s8, not u8.
    parts : int
        The number of parts of the input channels; 1 for a layer with groups.
    """

    def __init__(self, layer: Conv, signed: bool, parts: int) -> None:
        self._size = ceil_div(layer.weight.shape[1], parts)
        self._parts = [
            _Part(replace(layer, weight=weight), signed)
            for weight in layer.weight.split(self._size, 1)
        ]

    def __call__(self, ifm: Tensor) -> Tensor:
        """Convolve (images, c_i, h, w), channels last; so is the result, and its numbers whole."""
        if len(self._parts) == 1:
            return self._parts[0](ifm)
        pieces = (_dense(piece) for piece in ifm.split(self._size, 1))
        total, *others = (part(piece) for part, piece in zip(self._parts, pieces, strict=True))
        total = total.to(torch.float64)
        for other in others:
            total += other
        return total


class _Part:
    """A convolution whose sums float32 holds."""

    def __init__(self, layer: Conv, signed: bool) -> None:
        top, bottom, left, right = layer.padding
        even = (top, left) == (bottom, right) and min(layer.padding) >= 0
        self._margins = None if even else layer.padding
        padding = [top, left] if even else [0, 0]
        self._signed = signed
        self._zero = _SIGN if signed else 0
        self._scale = torch.ones(len(layer.weight))
        self._zeros = torch.zeros(len(layer.weight), dtype=torch.int64)
        self._window = [*layer.stride], padding, [*layer.dilation], layer.groups
        self._weight = torch.ops.onednn.qconv_prepack(
            layer.weight.contiguous(), self._scale, 1.0, self._zero, *self._window, None
        )

    def __call__(self, ifm: Tensor) -> Tensor:
        if self._margins is not None:
            ifm = _dense(padded(ifm, self._margins, 0))
        if self._signed:  # oneDNN takes u8 alone, and subtracts the zero point
            ifm = ifm.view(torch.uint8) ^ _SIGN
        return torch.ops.onednn.qconv2d_pointwise(
            ifm,
            1.0,
            self._zero,
            self._weight,
            self._scale,
            self._zeros,
            None,
            *self._window,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )


def integer_sums(layer: Conv, shape: tuple[int, int, int], signed: bool) -> IntegerSums | None:
    """Return the sums of a layer for ifms of `shape`, (c_i, h, w); None if they are not exact."""
    most = layer.weight.shape[1] if layer.groups == 1 else 1
    fitting = (n for n in range(1, most + 1) if _bound(layer.weight, signed, n) < EXACT_FLOAT32)
    parts = next(fitting, None)
    # The sums of columns are golden's, for the reason that its convolution gives.
    if parts is None or is_column(shape[1:]):
        return None
    try:
        sums = IntegerSums(layer, signed, parts)
        return sums if _is_exact(sums, layer, shape, signed) else None
    except (RuntimeError, AttributeError):  # PyTorch was built without oneDNN
        return None


def _bound(weight: Tensor, signed: bool, parts: int) -> int:
    """Bound the magnitude of all sums of a weight whose input channels are divided."""
    size = ceil_div(weight.shape[1], parts)
    whole = weight.to(torch.int64)
    terms = [whole.abs()] if signed else [whole.clamp(min=0), -whole.clamp(max=0)]
    sums = (part.sum((1, 2, 3)).max() for term in terms for part in term.split(size, 1))
    return max(int(most) for most in sums) * (128 if signed else 255)


def _is_exact(sums: IntegerSums, layer: Conv, shape: tuple[int, int, int], signed: bool) -> bool:
    """Compare with golden where every activation is the least or the greatest one."""
    generator = torch.Generator().manual_seed(1)
    extremes = torch.randint(2, (_CHECKED, *shape), generator=generator, dtype=torch.int32)
    extremes[0] = 1
    ifm = extremes * 255 - (128 if signed else 0)
    expected = exact_sums(layer, ifm) - layer.bias.view(-1, 1, 1)
    found = sums(_dense(ifm.to(torch.int8 if signed else torch.uint8)))
    return torch.equal(found.to(torch.float64), expected)


def _dense(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)
