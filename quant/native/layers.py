"""Single layers in compiled code: what `golden.layers` computes, to the bit, on 8-bit maps.

Maps are uint8 or int8 tensors (images, channels, height, width) that lie in memory with the
channels of a pixel side by side (`channels_last`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from golden import arithmetic
from golden.arithmetic import ceil_div
from golden.layers import Conv, Counters, Pool, Predictor, exact_sums, mask, pool
from quant.native.library import (
    LANES,
    Kernels,
    MaxPooling,
    Prediction,
    Requantisation,
    Scores,
)
from quant.native.sums import integer_sums

__all__ = ["NativeConv", "NativePredictor", "ScoreBins", "as_map", "dense", "native_pool"]


class NativeConv:
    """A convolution with its tensors as the kernels want them."""

    def __init__(
        self,
        kernels: Kernels,
        layer: Conv,
        shape: tuple[int, int, int],
        signed: bool,
        predictor: Predictor | None,
    ) -> None:
        self.layer = layer
        self._kernels = kernels
        self._sums = integer_sums(layer, shape, signed)
        self._bias = layer.bias.to(torch.float64)
        self._scale = _scale(layer.multiplier, layer.shift)
        self._residual_scale: Tensor | None = None
        if layer.shortcut is not None:
            self._residual_scale = _scale(layer.shortcut.multiplier, layer.shortcut.shift)
        self._zap = None if predictor is None else NativePredictor(kernels, predictor)

    def __call__(self, ifm: Tensor, residual: Tensor | None) -> tuple[Tensor, Counters, int]:
        """Return the ofm, what was skipped, and how much of that wrongly."""
        sums = self.sums(ifm)
        ofm = _empty(sums.shape, self.layer.signed_output)
        _in_parts(lambda part: self._requantise(sums, residual, ofm, part), len(ofm))
        if self._zap is None:
            return ofm, Counters(ofm.numel(), 0, 0), 0
        counters, wrong = self._zap.skip(ofm)
        return ofm, counters, wrong

    @property
    def in_integers(self) -> bool:
        """True if the sums are computed in 8-bit arithmetic."""
        return self._sums is not None

    def sums(self, ifm: Tensor) -> Tensor:
        """Return the integer sums without bias and residual, float32 or float64."""
        if self._sums is not None:
            return self._sums(ifm)
        return dense(exact_sums(self.layer, ifm) - self.layer.bias.view(-1, 1, 1))

    def _requantise(self, sums: Tensor, residual: Tensor | None, ofm: Tensor, part: slice) -> None:
        _, channels, height, width = ofm.shape
        layer = Requantisation(
            images=part.stop - part.start,
            height=height,
            width=width,
            channels=channels,
            bias=self._bias.data_ptr(),
            scale=self._scale.data_ptr(),
            is_signed=self.layer.signed_output,
            sums_are_double=sums.dtype is torch.float64,
        )
        if residual is not None:
            shortcut, scale = self.layer.shortcut, self._residual_scale
            assert shortcut is not None
            assert scale is not None
            layer.residual = residual[part].data_ptr()
            layer.residual_channels, layer.residual_height, layer.residual_width = residual.shape[
                1:
            ]
            layer.residual_stride = shortcut.stride
            layer.channel_offset = shortcut.channel_offset
            layer.residual_scale = scale.data_ptr()
            layer.residual_is_signed = residual.dtype is torch.int8
        self._kernels.requantise(layer, sums[part].data_ptr(), ofm[part].data_ptr())


@dataclass(frozen=True)
class ScoreBins:
    """The bins that real scores are counted in.

    `scale` and `offset`, float64 (channels,), make integer scores real.
    """

    scale: Tensor
    offset: Tensor
    first: float
    per_unit: float
    count: int


class NativePredictor:
    """A predictor with its tensors as the kernels want them."""

    def __init__(self, kernels: Kernels, predictor: Predictor) -> None:
        self._kernels = kernels
        self._pattern = predictor.pattern
        self._padded = ceil_div(len(predictor.bias1), LANES) * LANES
        half = arithmetic.half(predictor.shift1.to(torch.int64))
        self._fields = {
            "weight1": self._floats(predictor.weight1.flatten(1)),
            "bias1": self._floats(predictor.bias1 + half),
            "power1": self._floats(torch.pow(2.0, -predictor.shift1)),
            "weight2": self._floats(predictor.weight2.flatten(1)),
            "threshold": self._floats(predictor.threshold),
        }

    def skip(self, ofm: Tensor) -> tuple[Counters, int]:
        """Set to zero what is skipped of a uint8 ofm, and count it."""
        parts = _in_parts(lambda part: self._predict(ofm, None, part), len(ofm))
        kept, wrong = torch.stack(parts).sum(0).tolist()
        before = int(mask(self._pattern, ofm).sum()) * len(ofm) * ofm.shape[1]
        return Counters(before, kept, ofm.numel() - before - kept), wrong

    def count_scores(self, ofm: Tensor, bins: ScoreBins) -> tuple[Tensor, Tensor]:
        """Count the scores of a uint8 ofm without ZAP, and sum their activations, by bin.

        Both are int64 (channels, bins); `kernels.cpp` says what falls into a bin.
        """
        counts = _in_parts(lambda part: self._count(ofm, bins, part), len(ofm))
        both = torch.stack(counts).sum(0)
        return both[0], both[1]

    def _count(self, ofm: Tensor, bins: ScoreBins, part: slice) -> Tensor:
        _, channels, height, width = ofm.shape
        images = part.stop - part.start
        scores = torch.empty((images, height, width, channels), dtype=torch.int32)
        self._predict(ofm, scores, part)
        computed = self._computed(ofm)
        fields = Scores(
            images=images,
            height=height,
            width=width,
            channels=channels,
            computed=computed.data_ptr(),
            scale=bins.scale.data_ptr(),
            offset=bins.offset.data_ptr(),
            first=bins.first,
            per_unit=bins.per_unit,
            bins=bins.count,
        )
        both = torch.zeros(2, channels, bins.count, dtype=torch.int64)
        self._kernels.count_scores(
            fields,
            scores.data_ptr(),
            ofm[part].data_ptr(),
            both[0].data_ptr(),
            both[1].data_ptr(),
        )
        return both

    def _computed(self, ofm: Tensor) -> Tensor:
        return mask(self._pattern, ofm).to(torch.uint8)

    def _predict(self, ofm: Tensor, scores: Tensor | None, part: slice) -> Tensor:
        _, channels, height, width = ofm.shape
        computed = self._computed(ofm)
        counts = torch.empty(2, dtype=torch.int64)
        zap = Prediction(
            images=part.stop - part.start,
            height=height,
            width=width,
            channels=channels,
            computed=computed.data_ptr(),
            padded=self._padded,
            **{name: tensor.data_ptr() for name, tensor in self._fields.items()},
        )
        where = None if scores is None else scores.data_ptr()
        self._kernels.predict(zap, ofm[part].data_ptr(), counts.data_ptr(), where)
        return counts

    def _floats(self, values: Tensor) -> Tensor:
        """float32 (taps, padded channels) of integers (channels, taps) or (channels,)."""
        channels_last = values.to(torch.float32).reshape(len(values), -1).T
        return F.pad(channels_last, (0, self._padded - len(values))).contiguous()


_Result = TypeVar("_Result")


@cache
def _pool_of_threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "kernels")


def _in_parts(run: Callable[[slice], _Result], count: int) -> list[_Result]:
    """Run a kernel on parts of so many images, in as many threads as PyTorch has."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return [run(slice(0, count))]
    bounds = [count * number // threads for number in range(threads + 1)]
    return list(_pool_of_threads(threads).map(run, (slice(*pair) for pair in pairwise(bounds))))


def native_pool(kernels: Kernels, layer: Pool, ifm: Tensor) -> Tensor:
    """Run one pooling layer."""
    if layer.average is not None:
        return as_map(pool(layer, ifm), layer.signed)
    count, channels, height, width = ifm.shape
    size = layer.output_size(height, width)
    ofm = _empty((count, channels, *size), layer.signed)

    def run(part: slice) -> None:
        fields = MaxPooling(
            images=part.stop - part.start,
            height=height,
            width=width,
            channels=channels,
            out_height=size[0],
            out_width=size[1],
            kernel=layer.kernel,
            stride=layer.stride,
            corner=(layer.padding[0], layer.padding[2]),
            is_signed=layer.signed,
        )
        kernels.max_pool(fields, ifm[part].data_ptr(), ofm[part].data_ptr())

    _in_parts(run, count)
    return ofm


def _empty(shape: tuple[int, ...], signed: bool) -> Tensor:
    kind = torch.int8 if signed else torch.uint8
    return torch.empty(shape, dtype=kind, memory_format=torch.channels_last)


def as_map(maps: Tensor, signed: bool) -> Tensor:
    """Integers that 8 bits hold, as a map."""
    return dense(maps.to(torch.int8 if signed else torch.uint8))


def dense(maps: Tensor) -> Tensor:
    """The same map with its channels side by side."""
    return maps.contiguous(memory_format=torch.channels_last)


def _scale(multiplier: Tensor, shift: Tensor) -> Tensor:
    """multiplier / 2**shift in float64, (channels,)."""
    return torch.ldexp(multiplier.to(torch.float64), -shift)
