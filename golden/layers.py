"""One layer at a time, bit for bit what the hardware computes.

Activations are int32 torch tensors of shape (images, channels, height, width) that hold 8-bit
values. Every function is exact. Much of the work is done in floats, which are faster, wherever they
hold every intermediate exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from golden import arithmetic
from golden.padding import NO_PADDING, Padding, average_pool2d, conv2d, max_pool2d, windows
from golden.pattern import FULL, Pattern

__all__ = [
    "EXACT_FLOAT32",
    "Conv",
    "ConvResult",
    "Counters",
    "Pool",
    "Predictor",
    "Shortcut",
    "conv",
    "exact_sums",
    "is_column",
    "mask",
    "pool",
    "scores",
    "skip",
]

EXACT_FLOAT32 = 1 << 24
"""Every integer whose magnitude is below this is a float32."""
_LARGEST_ACTIVATION = 255


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A quantised ZAP: two depthwise 3x3 convolutions and a threshold for each channel.

    Parameters
    ----------
    pattern : Pattern
        The activations that it sees, `I_s`. It scores the others.
    weight1, weight2 : int8 (channels, 3, 3)
    bias1 : int32 (channels,), BIAS1_BITS wide
    shift1 : int32 (channels,), 0 .. PREDICTOR_SHIFT_MAX
    threshold : int32 (channels,), SCORE_BITS wide
        An activation is computed iff its score is strictly greater.
    """

    pattern: Pattern
    weight1: Tensor
    bias1: Tensor
    shift1: Tensor
    weight2: Tensor
    threshold: Tensor


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """Adds a residual tensor to a convolution's sums, before requantisation.

    The value added to the sum of output (channel, y, x) is residual[channel - channel_offset, y *
    stride, x * stride], requantised to the sum's scale by (multiplier, shift) of that channel; it
    is zero where the residual has no such channel. Stride 1 and offset 0 is the plain residual add;
    the others are the parameter-free "option A" shortcut of He et al., section 4.2.
    """

    multiplier: Tensor
    shift: Tensor
    stride: int = 1
    channel_offset: int = 0

    def place(self, residual: Tensor) -> Tensor:
        """Place a residual (images, c, h, w) where it is added in the ofm; the rest is zero."""
        picked = residual[:, :, :: self.stride, :: self.stride]
        after = len(self.multiplier) - self.channel_offset - picked.shape[1]
        return F.pad(picked, (0, 0, 0, 0, self.channel_offset, after))


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A quantised convolution; a fully connected layer is one whose kernel covers its whole input.

    Parameters
    ----------
    weight : int8 (c_o, c_i / groups, k_h, k_w)
    bias : int32 (c_o,)
    multiplier, shift : int32 (c_o,)
        Requantisation, MULTIPLIER_BITS unsigned and SHIFT_MIN .. SHIFT_MAX.
    stride : (vertical, horizontal)
    padding : (top, bottom, left, right)
        Rows and columns of zeros; they may be more than the kernel has. Negative numbers leave out
        rows and columns of the ifm.
    dilation : (vertical, horizontal)
        Rows and columns of the ifm from a tap of the kernel to the next.
    groups : int
        Equal parts of the input channels; each is read by as many equal parts of the kernels alone.
    signed_output : bool
        The ofm is s8 and may be negative; else it is u8, which is the ReLU.
    shortcut : Shortcut or None
        Present iff the layer adds a residual.
    """

    name: str
    weight: Tensor
    bias: Tensor
    multiplier: Tensor
    shift: Tensor
    stride: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    signed_output: bool = False
    shortcut: Shortcut | None = None

    @property
    def kernel(self) -> tuple[int, int]:
        """(k_h, k_w)."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the ifm that a kernel spans."""
        (k_h, k_w), (d_h, d_w) = self.kernel, self.dilation
        return d_h * (k_h - 1) + 1, d_w * (k_w - 1) + 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the ofm for an ifm of that size; below 1 if no kernel fits."""
        return windows((height, width), self.extent, self.stride, self.padding)

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates of one whole ofm for an ifm of that size, padding included."""
        out_h, out_w = self.output_size(height, width)
        return out_h * out_w * self.weight.numel()


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Max or average pooling.

    Average pooling sums the window, padding zeros included, and requantises with (multiplier,
    shift); max pooling ignores padding and has neither. `padding` is (top, bottom, left, right).
    """

    name: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding = NO_PADDING
    average: tuple[int, int] | None = None
    signed: bool = False
    """Its tensors are s8, not u8."""

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the ofm for an ifm of that size; below 1 where no window fits."""
        return windows((height, width), self.kernel, self.stride, self.padding)


@dataclass(frozen=True)
class Counters:
    """Activations of a convolution as the hardware counts them, summed over the images."""

    computed: int
    """Activations of `I_s`: computed before prediction. All of them where the layer has no ZAP."""
    kept: int
    """Activations of `I_t` whose score exceeded the threshold: computed after prediction."""
    skipped: int
    """Activations of `I_t` predicted zero and never computed."""

    @property
    def predicted(self) -> int:
        """Activations of `I_t`."""
        return self.kept + self.skipped

    @property
    def total(self) -> int:
        """All activations of the ofm."""
        return self.computed + self.kept + self.skipped


@dataclass(frozen=True)
class ConvResult:
    """Every intermediate of a convolution with its predictor.

    Parameters
    ----------
    dense : int32 (images, c_o, height, width)
        The ofm that the layer would have without ZAP.
    computed : bool (height, width)
        `I_s`.
    scores : int32 like `dense`, or None without ZAP
        They mean something on `I_t` only.
    keep : bool like `dense`
        The activations that are computed.
    ofm : int32 like `dense`
        `dense` where it is kept, 0 elsewhere.
    """

    dense: Tensor
    computed: Tensor
    scores: Tensor | None
    keep: Tensor
    ofm: Tensor
    counters: Counters

    @property
    def partial(self) -> Tensor:
        """`dense` on `I_s` and 0 elsewhere."""
        return self.dense.masked_fill(~self.computed, 0)


def conv(
    layer: Conv, ifm: Tensor, predictor: Predictor | None = None, residual: Tensor | None = None
) -> ConvResult:
    """Run one convolution on (images, c_i, h, w), with ZAP if a predictor is given."""
    sums = exact_sums(layer, ifm)
    if layer.shortcut is not None:
        assert residual is not None
        shortcut = layer.shortcut
        sums += arithmetic.requantise_wide(
            shortcut.place(residual.to(torch.int64)),
            _per_channel(shortcut.multiplier),
            _per_channel(shortcut.shift),
        )
    limits = arithmetic.activation_range(layer.signed_output)
    dense = _requantised(sums, layer.multiplier, layer.shift, limits)

    computed = mask(FULL if predictor is None else predictor.pattern, dense)
    if predictor is None:
        return skip(dense, computed, computed)
    predicted = scores(predictor, dense.masked_fill(~computed, 0))
    keep = predicted > _per_channel(predictor.threshold).to(torch.int32)
    return skip(dense, computed, keep | computed, predicted)


def mask(pattern: Pattern, ofm: Tensor) -> Tensor:
    """`I_s` of a pattern on the maps of an ofm: bool (height, width)."""
    return torch.from_numpy(pattern.mask(*ofm.shape[2:]))


def skip(dense: Tensor, computed: Tensor, keep: Tensor, scores: Tensor | None = None) -> ConvResult:
    """The result of a layer of which only some activations are computed.

    `computed` is `I_s`, bool (height, width). `keep` contains it and broadcasts to the ofm.
    """
    keep = keep.expand_as(dense)
    before = int(computed.sum()) * len(dense) * dense.shape[1]
    kept = int(keep.count_nonzero()) - before
    counters = Counters(before, kept, dense.numel() - before - kept)
    return ConvResult(dense, computed, scores, keep, dense.masked_fill(~keep, 0), counters)


def scores(predictor: Predictor, partial: Tensor) -> Tensor:
    """The predictor's int32 score at every position of a partial ofm (paper, section 2.2).

    Both convolutions pad their *input* with zeros: outside the map the hidden activation is 0, not
    the ReLU of the bias.
    """
    hidden = _depthwise(partial, predictor.weight1)
    hidden += _per_channel(predictor.bias1)
    # arithmetic.hidden, where a power of two divides exactly.
    power = torch.pow(2.0, _per_channel(predictor.shift1))
    hidden.add_((power / 2).floor_()).div_(power).floor_().clamp_(*arithmetic.U8)
    return _depthwise(hidden, predictor.weight2).to(torch.int32)


def pool(layer: Pool, ifm: Tensor) -> Tensor:
    """Run one pooling layer on (images, channels, h, w)."""
    window = ifm.to(torch.float32)
    if layer.average is None:
        return max_pool2d(window, layer.kernel, layer.stride, layer.padding).to(torch.int32)
    total = average_pool2d(window, layer.kernel, layer.stride, layer.padding, divisor=1)
    limits = arithmetic.activation_range(layer.signed)
    return arithmetic.requantise(total.to(torch.int64), *layer.average, limits).to(torch.int32)


def exact_sums(layer: Conv, ifm: Tensor) -> Tensor:
    """The sums, bias included: integers in float64.

    Input channels are split into as many parts as float32 needs to represent the sums of each part
    exactly. Where one channel is too much for that, or a layer with groups needs several parts, all
    are summed in float64.
    """
    bounds = layer.weight.to(torch.int64).abs().sum((2, 3)) * _LARGEST_ACTIVATION  # (c_o, c_i)
    most_parts = bounds.shape[1] if layer.groups == 1 else 1
    parts = 1
    while any(int(part.sum(1).max()) >= EXACT_FLOAT32 for part in bounds.chunk(parts, 1)):
        parts += 1
        if parts > most_parts:
            return _conv(layer, ifm, layer.weight, torch.float64).add_(_per_channel(layer.bias))
    pieces = zip(ifm.chunk(parts, 1), layer.weight.chunk(parts, 1))
    sums = [_conv(layer, piece, weight, torch.float32) for piece, weight in pieces]
    total = sums[0].to(torch.float64).add_(_per_channel(layer.bias))
    for other in sums[1:]:
        total += other
    return total


def is_column(size: Sequence[int]) -> bool:
    """Say whether a map of (height, width) is one pixel wide, and higher."""
    height, width = size
    return width == 1 < height


def _conv(layer: Conv, ifm: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The layer's convolution on some of its input channels, without bias."""
    # PyTorch takes the strides of columns for those of another order, and writes out of bounds.
    column = is_column(ifm.shape[2:])
    order = torch.contiguous_format if column else torch.channels_last
    # NNPACK may choose a Winograd algorithm, whose intermediates are not integers.
    with torch.backends.nnpack.flags(enabled=False):
        return conv2d(
            ifm.to(dtype).contiguous(memory_format=order),
            weight.to(dtype),
            None,
            layer.stride,
            layer.padding,
            layer.groups,
            layer.dilation,
        )


def _requantised(
    sums: Tensor, multiplier: Tensor, shift: Tensor, limits: tuple[int, int]
) -> Tensor:
    """`arithmetic.requantise` of integers in float64, int32: several times as fast, and exact.

    A product has ACC_BITS + MULTIPLIER_BITS = 48 bits; float64 holds it together with one half.
    """
    scale = torch.ldexp(_per_channel(multiplier).to(torch.float64), -_per_channel(shift))
    sums = sums.clamp_(*arithmetic.signed_range(arithmetic.ACC_BITS))
    return sums.mul_(scale).add_(0.5).floor_().clamp_(*limits).to(torch.int32)


def _depthwise(ifm: Tensor, weight: Tensor) -> Tensor:
    """Depthwise 3x3, padding 1: integers in float32, exact as 9 * 255 * 128 is far below 2**24."""
    with torch.backends.nnpack.flags(enabled=False):
        # In this memory order PyTorch's depthwise convolution is many times as fast.
        return F.conv2d(
            ifm.to(torch.float32).contiguous(memory_format=torch.channels_last),
            weight.to(torch.float32).unsqueeze(1),
            padding=1,
            groups=weight.shape[0],
        )


def _per_channel(values: Tensor) -> Tensor:
    """(channels,) to int64 (channels, 1, 1), to broadcast over an ofm."""
    return values.to(torch.int64).view(-1, 1, 1)
