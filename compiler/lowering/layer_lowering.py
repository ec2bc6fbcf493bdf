"""Lowers one convolution: the fields of its tiles' descriptors, and its record stream.

A layer is one tile if the buffers hold it, and one tile for each of its strips if not. More strips
than that may take less time; `compiler.lowering.cut_search` decides whether they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from torch import Tensor

from compiler.lowering.misfit import Demand, Misfit
from compiler.lowering.patches import (
    Patch,
    column_shift,
    kernel_steps,
    pack_patches,
    patches,
    row_words,
    rows_apart,
)
from compiler.lowering.record_packing import record_stream
from compiler.lowering.slices import Slices, cut_slices
from compiler.lowering.strips import Strip, buffered_rows, cut_strips
from golden.arithmetic import ceil_div
from golden.errors import UserError
from golden.layers import Conv, Pool, Predictor
from golden.pattern import FULL, Pattern
from hw.contract.config import Config
from hw.contract.program import MOST_SLOTS, residues_word

__all__ = ["Cut", "LoweredLayer", "Tile", "all_cuts", "lower_layer", "with_steps"]

_PIXEL = Pool(name="", kernel=(1, 1), stride=(1, 1))
"""The windows of a layer without pooling."""


@dataclass(frozen=True)
class Cut:
    """A way to cut a layer into strips.

    Parameters
    ----------
    patch : (vertical, horizontal)
        Pixels of one ifm word; (1, 1) where channels fill it.
    strips : list of Strip
        In the order in which they run.
    ifm_words, pixels : int
        What the largest strip takes of the ifm buffer, padding included, and of an ofm bank. Where
        the ifm comes in slices, `ifm_words` are those of one.
    sliced : bool
        The ifm comes in slices.
    """

    patch: Patch
    strips: list[Strip]
    ifm_words: int
    pixels: int
    sliced: bool = False

    @property
    def buffer_words(self) -> int:
        """Words that the ifm buffer must have. A slice does not fill it: its step is not 0."""
        return self.ifm_words + self.sliced

    def fits(self, config: Config) -> bool:
        """Say whether the buffers hold every strip."""
        return self.buffer_words <= config.ifm_words and self.pixels <= config.ofm_words


@dataclass(frozen=True)
class Tile:
    """A strip of a convolution.

    Parameters
    ----------
    strip : Strip
    first_word : int
        The word at which the first row that is loaded begins, in a buffer without end.
    early : bool
        Its ifm may be loaded while the strip above is computed, because the ifm buffer holds it
        beside all that the strip above reads. Slices wait for room by themselves.
    fields : dict
        The values of `hw.contract.program.engine_words`; those of the pooling are in a dict of
        their own under `pool`.
    """

    strip: Strip
    first_word: int
    early: bool
    fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LoweredLayer:
    """A convolution in the accelerator's terms.

    Parameters
    ----------
    slices : Slices
        The parts of the ifm that kernels read, loaded one after another.
    patch : (vertical, horizontal)
        Pixels of one ifm word; (1, 1) where channels fill it.
    column_shift : int
        The buffer has words for every 2**column_shift-th column of the ifm.
    rows_apart : bool
        Patches begin at every patch[0]-th row alone.
    row_words : int
        Words of one row of the ifm, or of a slice of it, in the buffer, padding included.
    ofm_size, pooled_size : (height, width)
        Of the convolution's ofm, and of what leaves: the ofm or its pooled map.
    ifm_words : int
        Words of the ifm buffer that the largest tile takes, padding included; those of a slice.
    tiles : list of Tile
        In the order in which they run.
    """

    config: Config
    conv: Conv
    predictor: Predictor | None
    slices: Slices
    patch: Patch
    column_shift: int
    rows_apart: bool
    row_words: int
    ofm_size: tuple[int, int]
    pooled_size: tuple[int, int]
    ifm_words: int
    tiles: list[Tile]

    @cached_property
    def records(self) -> np.ndarray:
        """The record stream, uint8 (c_o * words, V), the same for each tile."""
        return record_stream(self.config, self.conv, self.slices, self.patch, self.predictor)

    @property
    def slots(self) -> int:
        """Slices that the ifm buffer holds at a time."""
        return min(self.config.ifm_words // self.ifm_words, MOST_SLOTS)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a layer of one tile."""
        (tile,) = self.tiles
        return tile.fields

    def pack_ifm(self, ifm: Tensor) -> np.ndarray:
        """The ifm buffer, uint8 (slices, words, V), of an ifm (c_i, height, width), in one tile."""
        (tile,) = self.tiles
        top, bottom, left, right = self.conv.padding
        values = ifm.numpy().astype(np.uint8)
        _, height, width = values.shape
        values = values[:, max(-top, 0) : height + min(bottom, 0)]
        values = values[:, :, max(-left, 0) : width + min(right, 0)]
        sides = ((max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)))
        missing = self.slices.count * self.slices.ifm_channels - len(values)
        padded = np.pad(values, ((0, missing), *sides))
        rows = tile.strip.ifm
        pixels = padded[:, : rows.stop - rows.start : rows.step]
        return np.stack([self._pack_slice(part) for part in np.split(pixels, self.slices.count)])

    def _pack_slice(self, pixels: np.ndarray) -> np.ndarray:
        """The words, uint8 (words, V), of padded channels (channels, height, width)."""
        lanes = self.config.lanes
        words = pack_patches(pixels.transpose(1, 2, 0), self.patch, lanes)
        rows = words[:: self.patch[0] if self.rows_apart else 1, :: 1 << self.column_shift]
        columns = self.row_words // rows.shape[2]
        return rows[:, :columns].reshape(-1, lanes)

    def pack_residual(self, residual: Tensor) -> np.ndarray:
        """The residual stream, uint8 (groups * pixels, G), for one (channels, height, width)."""
        shortcut = self.conv.shortcut
        assert shortcut is not None
        channels, group = len(self.conv.weight), self.config.group
        groups = ceil_div(channels, group)
        placed = np.zeros((groups * group, *self.ofm_size), np.uint8)
        placed[:channels] = shortcut.place(residual[None])[0].numpy().astype(np.uint8)
        return placed.reshape(groups, group, -1).transpose(0, 2, 1).reshape(-1, group)

    def unpack_ofm(self, words: np.ndarray) -> np.ndarray:
        """int32 (c_o, *pooled_size) from the ofm stream, uint8 (groups * pooled pixels, G)."""
        channels = len(self.conv.weight)
        groups = words.reshape(-1, *self.pooled_size, self.config.group)
        values = groups.transpose(0, 3, 1, 2).reshape(-1, *self.pooled_size)[:channels]
        return (values.view(np.int8) if self.conv.signed_output else values).astype(np.int32)


def lower_layer(
    config: Config,
    conv: Conv,
    ifm_shape: tuple[int, int, int],
    *,
    ifm_signed: bool,
    residual_signed: bool = False,
    predictor: Predictor | None = None,
    pool: Pool | None = None,
    cut: Cut | None = None,
) -> LoweredLayer:
    """Lower one convolution for an ifm of (c_i, height, width), with the pooling that follows it.

    Without a `cut`, the layer gets the cheapest patch that fits and as few strips as fit with it.
    Raises Misfit where the layer needs more than `config` has, naming the layer and the field of
    the configuration to raise.
    """
    window = pool or _PIXEL
    ofm_size = conv.output_size(*ifm_shape[1:])
    conv = with_steps(config, conv, ifm_shape[0])
    cut = cut or _fewest_strips(config, conv, ifm_shape, pool, zap=predictor is not None)
    slices = cut_slices(conv, ifm_shape[0], config.group)
    row = row_words(config, conv, ifm_shape[1:], cut.patch, slices)
    common = {
        **_address_fields(config, conv, cut.patch, slices, row),
        "slice_channels": slices.channels,
        "slice_step": 0 if slices.count == 1 else cut.ifm_words,
        "width": ofm_size[1],
        "channels": len(conv.weight),
        "ifm_signed": int(ifm_signed),
        "ofm_signed": int(conv.signed_output),
        "zap": int(predictor is not None),
        "residual": int(conv.shortcut is not None),
        "residual_signed": int(residual_signed),
    }
    _check_demands(config, conv, common, cut, pool, predictor)
    pattern = FULL if predictor is None else predictor.pattern
    tiles: list[Tile] = []
    for above, strip in zip([None, *cut.strips], cut.strips, strict=False):
        if slices.count > 1:
            # Slice follows slice around the buffer; nothing of the strip above is used.
            first_word = len(tiles) * slices.count * cut.ifm_words
            early, origin = above is not None, first_word - strip.own.start * common["row_step"]
        else:
            buffered = 0 if above is None else buffered_rows(above, strip) * row
            early, origin = above is not None and buffered <= config.ifm_words, 0
            whole = cut.strips[0].ifm
            first_word = (strip.load.start - whole.start) // whole.step * row
        fields = common | _strip_fields(strip, ofm_size[1], common["row_step"], origin, pattern)
        for name in ("row_step", "col_step", "inner_step", "outer_step", "base", "first_base"):
            fields[name] %= config.ifm_words
        fields["pool"] = _pool_fields(config, window, strip, ofm_size[1], pooled=pool is not None)
        tiles.append(Tile(strip, first_word, early, fields))
    return LoweredLayer(
        config=config,
        conv=conv,
        predictor=predictor,
        slices=slices,
        patch=cut.patch,
        column_shift=column_shift(conv, cut.patch),
        rows_apart=rows_apart(conv, cut.patch, slices),
        row_words=row,
        ofm_size=ofm_size,
        pooled_size=window.output_size(*ofm_size),
        ifm_words=cut.ifm_words,
        tiles=tiles,
    )


def with_steps(config: Config, conv: Conv, channels: int) -> Conv:
    """The convolution with a kernel that the array's two loops step through.

    They step through kernel rows, and through neighbouring columns of several words or columns of
    one word at any distance. Where a kernel of several rows is dilated horizontally and a pixel has
    several words, the zeros between its columns are written out.
    """
    d_h, d_w = conv.dilation
    slices = cut_slices(conv, channels, config.group)
    if d_w == 1 or conv.kernel[0] == 1 or slices.ifm_channels <= config.lanes:
        return conv
    weight = conv.weight.new_zeros(*conv.weight.shape[:3], conv.extent[1])
    weight[..., ::d_w] = conv.weight
    return replace(conv, weight=weight, dilation=(d_h, 1))


def all_cuts(
    config: Config, conv: Conv, ifm_shape: tuple[int, int, int], pool: Pool | None, *, zap: bool
) -> Iterator[Iterator[Cut]]:
    """For each patch, the cheapest first, every way to cut a layer, the fewest strips first."""
    window = pool or _PIXEL
    ofm_h, ofm_w = conv.output_size(*ifm_shape[1:])
    total, pooled_w = window.output_size(ofm_h, ofm_w)
    slices = cut_slices(conv, ifm_shape[0], config.group)
    heights = sorted({ceil_div(total, count) for count in range(1, total + 1)}, reverse=True)

    @cache
    def measured(rows: int) -> tuple[list[Strip], int, int]:
        """Strips, the most rows of the ifm of one, and the most pixels."""
        strips = cut_strips(conv, window, ofm_h, rows, zap=zap)
        if slices.count > 1:
            strips = [replace(strip, load=strip.ifm) for strip in strips]
        pixels = (max(len(strip.region) * ofm_w, len(strip.pooled) * pooled_w) for strip in strips)
        return strips, max(len(strip.ifm) for strip in strips), max(pixels)

    def cuts(patch: Patch) -> Iterator[Cut]:
        words = row_words(config, conv, ifm_shape[1:], patch, slices)
        rows_a_word = patch[0] if rows_apart(conv, patch, slices) else 1
        for height in heights:
            strips, rows, pixels = measured(height)
            ifm_words = ceil_div(rows, rows_a_word) * words
            yield Cut(patch, strips, ifm_words, pixels, slices.count > 1)

    return map(cuts, patches(config, conv, ifm_shape[1:], slices))


def _fewest_strips(
    config: Config, conv: Conv, ifm_shape: tuple[int, int, int], pool: Pool | None, *, zap: bool
) -> Cut:
    """The cheapest patch with which the layer fits, in as few strips as that takes.

    Where nothing fits, it is the cut that demands least.
    """
    smallest = []
    for cuts in all_cuts(config, conv, ifm_shape, pool, zap=zap):
        for cut in cuts:
            if cut.fits(config):
                return cut
        smallest.append(cut)
    return min(smallest, key=lambda cut: (cut.buffer_words, cut.pixels))


def _address_fields(
    config: Config, conv: Conv, patch: Patch, slices: Slices, row: int
) -> dict[str, int]:
    """The array's steps through the ifm buffer, not yet wrapped; `row` is the words of a row."""
    pixel = ceil_div(slices.ifm_channels, config.lanes)
    shift = column_shift(conv, patch)
    rows, cols = kernel_steps(conv.kernel, patch)
    inner_count, inner_step = (cols * pixel, 1) if patch == (1, 1) else (cols, patch[1] >> shift)
    rows_a_word = patch[0] if rows_apart(conv, patch, slices) else 1
    next_row = patch[0] // rows_a_word * conv.dilation[0] * row
    if conv.dilation[1] > 1 and pixel == 1:
        inner_step = conv.dilation[1]
    elif conv.dilation[1] > 1:
        assert rows == 1
        rows, inner_count, next_row = cols, pixel, conv.dilation[1] * pixel
    return {
        # A kernel of one row has in the buffer only the rows that its stride meets.
        "row_step": (1 if conv.kernel[0] == 1 else conv.stride[0] // rows_a_word) * row,
        "col_step": (conv.stride[1] >> shift) * pixel,
        "inner_count": inner_count,
        "inner_step": inner_step,
        "outer_count": rows,
        "outer_step": next_row - (inner_count - 1) * inner_step,
        "kernel_words": inner_count * rows,
    }


def _check_demands(
    config: Config,
    conv: Conv,
    fields: dict[str, int],
    cut: Cut,
    pool: Pool | None,
    predictor: Predictor | None,
) -> None:
    """Raise Misfit where a layer needs more than the configuration has."""
    smallest = "its smallest strip"
    if pool is not None:
        smallest += f", one row of windows of {pool.name!r}"
    demands = {
        "ifm_words": (cut.buffer_words, f"words of ifm, padding included, for {smallest}"),
        "ofm_words": (cut.pixels, f"pixels of ofm for {smallest}"),
        "weight_words": (fields["kernel_words"], "words of weights for one channel"),
        "most_channels": (fields["channels"], "output channels"),
    }
    if predictor is not None:
        demands["row_pixels"] = (fields["width"], "pixels in an ofm row with ZAP")
        if not config.predictor:
            raise UserError(
                f"layer {conv.name!r} has a predictor and configuration {config.name!r} has none"
            )
    lacking = [
        Demand(field, need, getattr(config, field), what)
        for field, (need, what) in demands.items()
        if need > getattr(config, field)
    ]
    if lacking:
        raise Misfit(conv.name, config.name, lacking)


def _strip_fields(
    strip: Strip, width: int, row_step: int, origin: int, pattern: Pattern
) -> dict[str, Any]:
    """The fields of a strip: rows, addresses, pattern. The ifm's rows go around the buffer.

    `origin` is where the kernel of the map's first pixel would begin.
    """
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
        "base": origin + top * row_step,
        "first_base": origin + first * row_step,
        "period": pattern.period,
        "pattern": pattern.repeated(top),
        "residues": residues_word(pattern.residue(strip.restored, 0), pattern.residue(1, 0)),
    }


def _pool_fields(
    config: Config, window: Pool, strip: Strip, width: int, *, pooled: bool
) -> dict[str, int]:
    """A strip's windows on an ofm of that width; without pooling a window is one pixel."""
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
        "left": -window.padding[2],
        "first_line": top * width % config.ofm_words,
        "line_step": window.stride[0] * width % config.ofm_words,
        "multiplier": multiplier,
        "shift": shift,
    }
