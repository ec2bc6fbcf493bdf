"""Lowers one convolution: descriptors of its tiles, and its record stream.

A layer is one tile where the buffers hold it, else one for each of its strips; where more of them
take less time is for others to say (`compiler.cut_search`).

A word of the ifm buffer holds V input channels of one pixel. Where a pixel has few channels, a word
holds a patch of `pack` neighbouring pixels instead, and one step of the kernel covers as many of
its taps: the array's lanes are then filled by kernel columns (and rows) in place of channels.
Columns at which no step begins, since a stride passes over them, have no word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from math import gcd
from typing import Any

import numpy as np
from torch import Tensor

from compiler.strips import Strip, cut, rows_of_both
from golden import arithmetic
from golden.errors import UserError
from golden.layers import Conv, Pool, Predictor
from golden.pattern import FULL, MAX_PERIOD, Pattern
from hw.contract.config import Config
from hw.contract.program import MAX_COL_SHIFT
from hw.layouts.descriptor import RECORD_BYTES, ChannelRecord, LayerDescriptor, header_words

__all__ = ["Cut", "Lowered", "Tile", "cuts", "lower"]

_PIXEL = Pool(name="", kernel=(1, 1), stride=(1, 1))
"""The windows of a layer without pooling."""


@dataclass(frozen=True)
class Cut:
    """A way to cut a layer.

    Parameters
    ----------
    pack : (vertical, horizontal)
        Pixels of one ifm word; (1, 1) where channels fill it.
    strips : list of Strip
    ifm_words, pixels : int
        What the largest strip takes of the ifm buffer, padding included, and of an ofm bank.
    """

    pack: tuple[int, int]
    strips: list[Strip]
    ifm_words: int
    pixels: int

    def fits(self, config: Config) -> bool:
        """Whether the buffers hold every strip."""
        return self.ifm_words <= config.ifm_words and self.pixels <= config.ofm_words


@dataclass(frozen=True)
class Tile:
    """A strip of a convolution.

    Parameters
    ----------
    strip : Strip
    early : bool
        What it loads may be loaded while the strip above is computed: the ifm buffer has room for
        that beside all that the strip above reads.
    fields : dict
        Those of `hw.layouts.descriptor.LayerDescriptor`.
    """

    strip: Strip
    early: bool
    fields: dict[str, Any]


@dataclass(frozen=True)
class Lowered:
    """A convolution in the accelerator's terms.

    `tiles` are in the order in which they run.
    """

    config: Config
    conv: Conv
    predictor: Predictor | None
    pack: tuple[int, int]
    """Pixels (vertical, horizontal) of one ifm word; (1, 1) where channels fill it."""
    col_shift: int
    """The buffer has words for every 2**col_shift-th column of the ifm."""
    row_words: int
    """Words of one row of the ifm in the buffer, padding included."""
    ofm_size: tuple[int, int]
    """(height, width) of the convolution's ofm."""
    pooled_size: tuple[int, int]
    """(height, width) of what leaves: the ofm, or its pooled map."""
    ifm_words: int
    """Words of the ifm buffer that the largest tile takes, padding included."""
    tiles: list[Tile]

    @cached_property
    def records(self) -> np.ndarray:
        """The record stream, uint8 (c_o * words, V), the same for each tile."""
        return _records(self.config, self.conv, self.pack, self.predictor)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a layer of one tile."""
        (tile,) = self.tiles
        return tile.fields

    def line(self, row: int) -> int:
        """Where a row of the ifm begins in an endless buffer."""
        first = self.tiles[0].strip.ifm
        return (row - first.start) // first.step * self.row_words

    @property
    def descriptor(self) -> int:
        """The descriptor as one number."""
        layout = LayerDescriptor(self.config)
        return layout.const(self.fields).as_bits()

    def pack_ifm(self, ifm: Tensor) -> np.ndarray:
        """The ifm buffer, uint8 (words, V), of an ifm (c_i, height, width), in one tile."""
        (tile,) = self.tiles
        vertical, horizontal = self.conv.padding
        values = ifm.numpy().astype(np.uint8)
        padded = np.pad(values, ((0, 0), (vertical, vertical), (horizontal, horizontal)))
        rows = tile.strip.ifm
        pixels = padded[:, : rows.stop - rows.start : rows.step].transpose(1, 2, 0)
        words = _pack(pixels, self.pack, self.config.lanes)[:, :: 1 << self.col_shift]
        return words.reshape(-1, self.config.lanes)

    def pack_residual(self, residual: Tensor) -> np.ndarray:
        """The residual stream, uint8 (groups * pixels, G), for one (channels, height, width)."""
        shortcut = self.conv.shortcut
        assert shortcut is not None
        channels, group = len(self.conv.weight), self.config.group
        groups = -(-channels // group)
        placed = np.zeros((groups * group, *self.ofm_size), np.uint8)
        placed[:channels] = shortcut.place(residual[None])[0].numpy().astype(np.uint8)
        return placed.reshape(groups, group, -1).transpose(0, 2, 1).reshape(-1, group)

    def unpack_ofm(self, words: np.ndarray) -> np.ndarray:
        """int32 (c_o, *pooled_size) from the ofm stream, uint8 (groups * pooled pixels, G)."""
        channels = len(self.conv.weight)
        groups = words.reshape(-1, *self.pooled_size, self.config.group)
        values = groups.transpose(0, 3, 1, 2).reshape(-1, *self.pooled_size)[:channels]
        return (values.view(np.int8) if self.conv.signed_output else values).astype(np.int32)


def lower(
    config: Config,
    conv: Conv,
    ifm_shape: tuple[int, int, int],
    *,
    ifm_signed: bool,
    residual_signed: bool = False,
    predictor: Predictor | None = None,
    pool: Pool | None = None,
    how: Cut | None = None,
) -> Lowered:
    """Lower one convolution for an ifm of (c_i, height, width), with the pooling that follows it.

    Where it is not told how, it takes as few strips as fit with the cheapest patch that fits.
    Raises UserError where the layer needs more than `config` has, naming the layer and the field of
    the configuration to raise.
    """
    channels, height, width = ifm_shape
    kernel = conv.kernel
    ofm_h, ofm_w = conv.output_size(height, width)
    window = pool or _PIXEL
    pooled_size = window.output_size(ofm_h, ofm_w)
    how = how or _fewest(config, conv, ifm_shape, pool, zap=predictor is not None)
    pack = how.pack
    col_shift = _col_shift(conv, pack)
    words = -(-channels // config.lanes)
    rows, cols = _steps(kernel, pack)
    if pack == (1, 1):
        inner_count, inner_step = cols * words, 1
    else:
        inner_count, inner_step = cols, pack[1] >> col_shift
    row_words = _row_words(config, conv, ifm_shape, pack)
    row_stride = 1 if kernel[0] == 1 else conv.stride[0]
    common: dict[str, Any] = {
        "width": ofm_w,
        "channels": conv.weight.shape[0],
        "row_step": row_stride * row_words,
        "col_step": (conv.stride[1] >> col_shift) * words,
        "inner_count": inner_count,
        "inner_step": inner_step,
        "outer_count": rows,
        "outer_step": pack[0] * row_words - (inner_count - 1) * inner_step,
        "kernel_words": inner_count * rows,
        "ifm_signed": int(ifm_signed),
        "ofm_signed": int(conv.signed_output),
        "zap": int(predictor is not None),
        "residual": int(conv.shortcut is not None),
        "residual_signed": int(residual_signed),
    }
    smallest = "its smallest strip"
    if pool is not None:
        smallest += f", one row of windows of {pool.name!r}"
    demands = {
        "ifm_words": (how.ifm_words, f"words of ifm, padding included, for {smallest}"),
        "ofm_words": (how.pixels, f"pixels of ofm for {smallest}"),
        "weight_words": (inner_count * rows, "words of weights for one channel"),
        "most_channels": (common["channels"], "output channels"),
    }
    if predictor is not None:
        demands["row_pixels"] = (ofm_w, "pixels in an ofm row with ZAP")
        if not config.predictor:
            raise UserError(
                f"layer {conv.name!r} has a predictor and configuration {config.name!r} has none"
            )
    for field, (need, what) in demands.items():
        have = getattr(config, field)
        if need > have:
            raise UserError(
                f"layer {conv.name!r} needs {need} {what}; "
                f"configuration {config.name!r} has {field} = {have}"
            )
    pattern = FULL if predictor is None else predictor.pattern
    tiles = []
    for above, strip in zip([None, *how.strips], how.strips, strict=False):
        both = 0 if above is None else rows_of_both(above, strip) * row_words
        early = above is not None and both <= config.ifm_words
        fields = common | _strip_fields(strip, ofm_w, common["row_step"], pattern)
        for name in ("row_step", "col_step", "inner_step", "outer_step", "base", "first_base"):
            fields[name] %= config.ifm_words
        fields["pool"] = _pool_fields(config, window, strip, ofm_w, pooled=pool is not None)
        tiles.append(Tile(strip, early, fields))
    return Lowered(
        config,
        conv,
        predictor,
        pack,
        col_shift,
        row_words,
        (ofm_h, ofm_w),
        pooled_size,
        how.ifm_words,
        tiles,
    )


def cuts(
    config: Config, conv: Conv, ifm_shape: tuple[int, int, int], pool: Pool | None, *, zap: bool
) -> Iterator[Iterator[Cut]]:
    """For each patch, the cheapest first, every way to cut a layer, the fewest strips first."""
    window = pool or _PIXEL
    ofm_h, ofm_w = conv.output_size(*ifm_shape[1:])
    total, pooled_w = window.output_size(ofm_h, ofm_w)
    heights = sorted({-(-total // count) for count in range(1, total + 1)}, reverse=True)

    @cache
    def measured(rows: int) -> tuple[list[Strip], int, int]:
        """Strips, the most rows of the ifm of one, and the most pixels."""
        strips = cut(conv, window, ofm_h, rows, zap=zap)
        pixels = (max(len(strip.region) * ofm_w, len(strip.pooled) * pooled_w) for strip in strips)
        return strips, max(len(strip.ifm) for strip in strips), max(pixels)

    def of(pack: tuple[int, int]) -> Iterator[Cut]:
        row_words = _row_words(config, conv, ifm_shape, pack)
        for height in heights:
            strips, rows, pixels = measured(height)
            yield Cut(pack, strips, rows * row_words, pixels)

    return map(of, _packs(config, conv, ifm_shape))


def _fewest(
    config: Config, conv: Conv, ifm_shape: tuple[int, int, int], pool: Pool | None, *, zap: bool
) -> Cut:
    """The cheapest patch with which the layer fits, in as few strips as that takes.

    Where nothing fits, it is what demands least.
    """
    smallest = []
    for ways in cuts(config, conv, ifm_shape, pool, zap=zap):
        for way in ways:
            if way.fits(config):
                return way
        smallest.append(way)
    return min(smallest, key=lambda way: (way.ifm_words, way.pixels))


def _strip_fields(strip: Strip, width: int, row_step: int, pattern: Pattern) -> dict[str, Any]:
    """A strip's rows, addresses and phase. The ifm's rows follow each other around the buffer."""
    top, own = strip.region.start, strip.own
    first = top + strip.restored
    return {
        "height": len(strip.region),
        "pixels": len(strip.region) * width,
        "first_row": strip.restored,
        "restored": strip.restored * width,
        "spilled": strip.spilled * width,
        "scored_row": own.start - top,
        "scored_end": own.stop - top,
        "base": top * row_step,
        "first_base": first * row_step,
        "period": pattern.period,
        "pattern": sum(pattern.computes(top + i, 0) << i for i in range(2 * MAX_PERIOD)),
        "first_residue": strip.restored % pattern.period,
    }


def _pool_fields(
    config: Config, window: Pool, strip: Strip, width: int, *, pooled: bool
) -> dict[str, int]:
    """A strip's windows on an ofm of that width; they are of one pixel where nothing is pooled."""
    multiplier, shift = window.average or (0, 0)
    top = strip.pooled.start * window.stride[0] - window.padding[0] - strip.region.start
    return {
        "pooled": int(pooled),
        "average": int(window.average is not None),
        "height": len(strip.pooled),
        "width": window.output_size(window.kernel[0], width)[1],
        "kernel_height": window.kernel[0],
        "kernel_width": window.kernel[1],
        "stride_height": window.stride[0],
        "stride_width": window.stride[1],
        "top": top,
        "left": -window.padding[1],
        "first_line": top * width % config.ofm_words,
        "line_step": window.stride[0] * width % config.ofm_words,
        "multiplier": multiplier,
        "shift": shift,
    }


def _packs(config: Config, conv: Conv, ifm_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Patches (vertical, horizontal), those first that cost array and ifm loader the fewest cycles.

    The array finishes a result a cycle at most; the loader takes a beat a cycle, and each row once
    for each row of a patch.
    """
    channels, height, width = ifm_shape
    out_h, out_w = conv.output_size(height, width)
    results = len(conv.weight) * out_h * out_w

    def cost(pack: tuple[int, int]) -> float:
        rows, cols = _steps(conv.kernel, pack)
        beats = -(-channels // config.group) * config.group // config.bus_bytes
        loads = pack[0] * height * width * beats
        return results * max(rows * cols / config.pes, 1) + loads

    return sorted(
        (
            (v, h)
            for v in range(1, conv.kernel[0] + 1)
            for h in range(1, conv.kernel[1] + 1)
            if v * h <= max(config.lanes // channels, 1)
        ),
        key=lambda pack: (cost(pack), pack),
    )


def _row_words(
    config: Config, conv: Conv, ifm_shape: tuple[int, int, int], pack: tuple[int, int]
) -> int:
    """Words of one row of the ifm in the buffer."""
    channels, _, width = ifm_shape
    columns = -(-(width + 2 * conv.padding[1]) >> _col_shift(conv, pack))
    return columns * -(-channels // config.lanes)


def _steps(kernel: tuple[int, int], pack: tuple[int, int]) -> tuple[int, int]:
    """How many patches cover a kernel, each way."""
    return -(-kernel[0] // pack[0]), -(-kernel[1] // pack[1])


def _col_shift(conv: Conv, pack: tuple[int, int]) -> int:
    """Steps begin at every 2**shift-th column only."""
    _, cols = _steps(conv.kernel, pack)
    between = conv.stride[1] if cols == 1 else gcd(conv.stride[1], pack[1])
    return min((between & -between).bit_length() - 1, MAX_COL_SHIFT)


def _pack(pixels: np.ndarray, pack: tuple[int, int], lanes: int) -> np.ndarray:
    """(h, w, c) to (h, w, words, V): each pixel's patch, pixels past the edge zero, row by row."""
    height, width, _ = pixels.shape
    vertical, horizontal = pack
    extended = np.pad(pixels, ((0, vertical - 1), (0, horizontal - 1), (0, 0)))
    patch = np.concatenate(
        [
            extended[v : v + height, h : h + width]
            for v in range(vertical)
            for h in range(horizontal)
        ],
        axis=2,
    )
    words = -(-patch.shape[2] // lanes)
    patch = np.pad(patch, ((0, 0), (0, 0), (0, words * lanes - patch.shape[2])))
    return patch.reshape(height, width, words, lanes)


def _records(
    config: Config, conv: Conv, pack: tuple[int, int], predictor: Predictor | None
) -> np.ndarray:
    """The record stream, uint8 (words, V)."""
    weight = conv.weight.numpy().view(np.uint8)
    rows, cols = conv.kernel
    stream = []
    for channel, kernel in enumerate(weight):
        requantiser = {
            "bias": int(conv.bias[channel]),
            "multiplier": int(conv.multiplier[channel]),
            "shift": int(conv.shift[channel]),
        }
        fields: dict[str, Any] = {"requantiser": requantiser}
        if conv.shortcut is not None:
            requantiser["shortcut_multiplier"] = int(conv.shortcut.multiplier[channel])
            requantiser["shortcut_shift"] = int(conv.shortcut.shift[channel])
        if predictor is not None:
            shift1 = int(predictor.shift1[channel])
            fields["predictor"] = {
                "weight1": predictor.weight1[channel].flatten().tolist(),
                "offset1": int(predictor.bias1[channel]) + arithmetic.half(shift1),
                "shift1": shift1,
                "weight2": predictor.weight2[channel].flatten().tolist(),
                "threshold": int(predictor.threshold[channel]),
            }
        record = ChannelRecord().const(fields).as_bits().to_bytes(RECORD_BYTES, "little")
        header = np.frombuffer(record.ljust(header_words(config) * config.lanes, b"\0"), np.uint8)
        # The kernel is packed as an ifm of its own size; its steps are the patches' corners.
        taps = kernel.transpose(1, 2, 0)
        packed = _pack(taps, pack, config.lanes)[: rows : pack[0], : cols : pack[1]]
        stream += [header.reshape(-1, config.lanes), packed.reshape(-1, config.lanes)]
    return np.concatenate(stream)
