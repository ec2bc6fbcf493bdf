"""A comparison of the compiled kernels with golden, made once before they are used."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from golden import arithmetic
from golden.layers import Conv, Pool, Predictor, Shortcut, conv, pool
from golden.pattern import MASKS
from quant.native.layers import NativeConv, as_map, native_pool
from quant.native.library import Kernels

__all__ = ["is_exact"]

_IMAGES, _SIZE = 2, (7, 6)
_CHANNELS = 21
"""More than the kernels' lanes, and no multiple of them."""


def is_exact(kernels: Kernels) -> bool:
    """Run random layers of every kind, and compare all that they give."""
    draw = _Draw()
    residual = draw.integers(256, _IMAGES, _CHANNELS - 2, *_SIZE)
    plain = draw.conv(signed=False)
    added = draw.shortcut()
    return all(
        _same_conv(kernels, layer, draw, predictor, residual)
        for layer, predictor in (
            (plain, None),
            (plain, draw.predictor()),
            (replace(plain, shortcut=added), draw.predictor()),
            (draw.conv(signed=True), None),
        )
    ) and all(_same_pool(kernels, signed, draw) for signed in (False, True))


class _Draw:
    """Draws layers and maps, without a change of PyTorch's own random numbers."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(1)

    def integers(self, limit: int, *shape: int, first: int = 0) -> Tensor:
        """int32 of `first` to `limit` - 1."""
        return torch.randint(first, limit, shape, generator=self._generator, dtype=torch.int32)

    def conv(self, *, signed: bool) -> Conv:
        return Conv(
            name="check",
            weight=self._kernels(_CHANNELS, 3),
            bias=self.integers(20_000, _CHANNELS, first=-20_000),
            multiplier=self.integers(1 << arithmetic.MULTIPLIER_BITS, _CHANNELS, first=1 << 15),
            shift=self.integers(26, _CHANNELS, first=22),
            padding=(1, 1, 1, 1),
            signed_output=signed,
        )

    def shortcut(self) -> Shortcut:
        return Shortcut(
            multiplier=self.integers(1 << 16, _CHANNELS, first=1 << 15),
            shift=self.integers(12, _CHANNELS, first=8),
            channel_offset=1,
        )

    def predictor(self) -> Predictor:
        return Predictor(
            pattern=MASKS["B"],
            weight1=self._kernels(_CHANNELS, 1)[:, 0],
            bias1=self.integers(10_000, _CHANNELS, first=-10_000),
            shift1=self.integers(9, _CHANNELS),
            weight2=self._kernels(_CHANNELS, 1)[:, 0],
            threshold=self.integers(5_000, _CHANNELS, first=-5_000),
        )

    def _kernels(self, count: int, depth: int) -> Tensor:
        return self.integers(128, count, depth, 3, 3, first=-127).to(torch.int8)


def _same_conv(
    kernels: Kernels, layer: Conv, draw: _Draw, predictor: Predictor | None, residual: Tensor
) -> bool:
    ifm = draw.integers(256, _IMAGES, layer.weight.shape[1], *_SIZE)
    other = None if layer.shortcut is None else residual
    expected = conv(layer, ifm, predictor, other)
    native = NativeConv(kernels, layer, tuple(ifm.shape[1:]), False, predictor)  # type: ignore[arg-type]
    ofm, counters, wrong = native(
        as_map(ifm, False), None if other is None else as_map(other, False)
    )
    lost = int(expected.dense.count_nonzero() - expected.ofm.count_nonzero())
    return (
        torch.equal(ofm.to(torch.int32), expected.ofm)
        and counters == expected.counters
        and wrong == lost
    )


def _same_pool(kernels: Kernels, signed: bool, draw: _Draw) -> bool:
    layer = Pool(name="check", kernel=(3, 2), stride=(2, 2), padding=(1, 1, 1, 0), signed=signed)
    first, limit = (-128, 128) if signed else (0, 256)
    ifm = draw.integers(limit, _IMAGES, _CHANNELS, *_SIZE, first=first)
    found = native_pool(kernels, layer, as_map(ifm, signed))
    return torch.equal(found.to(torch.int32), pool(layer, ifm))
