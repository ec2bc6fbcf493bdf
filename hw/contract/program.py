"""What a program looks like in memory: headers and tile descriptors, words of 32 bits.

A program address points to one header for each operating point. A header names a list of tile
descriptors; a tile is a convolution, or a part of one, that runs from the buffers at a stretch.
Every word has limits, and the core refuses a program one of whose words is outside them. This file
is the only place where the words and their limits stand; `compiler.program` writes them.

Tensors lie in memory as planes of G channels: plane after plane, each in raster order with G bytes
a pixel, the channel's number modulo G being its byte. That is how an ofm leaves the core, so
stores and loads are long bursts; it is also how an ifm and a residual are read.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from amaranth.utils import bits_for, ceil_log2

from golden import arithmetic
from golden.pattern import MAX_PERIOD
from hw.contract.bus import ADDRESS_BITS, BEATS_BITS
from hw.contract.config import Config

__all__ = [
    "DESCRIPTOR_BYTES",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_COL_SHIFT",
    "MOST_SIZE",
    "OPCODE_TILE",
    "VERSION",
    "TileDescriptor",
    "Word",
    "descriptor_words",
    "header_words",
    "pack_words",
]

MAGIC = 0x50415A43
"""First word of a header: `CZAP` as text."""
VERSION = 4
"""Changes whenever an older core would misread a newer program."""
OPCODE_TILE = 1
HEADER_BYTES = 32
DESCRIPTOR_BYTES = 320
"""Room for every word, rounded up to whole beats of any bus."""

MAX_COL_SHIFT = 2
"""For a stride of 4 columns."""

MOST_SIZE = 4096
"""Largest height, width or number of channels of a tensor."""


@dataclass(frozen=True)
class Word:
    """A word of 32 bits; a signed one if `low` is negative.

    Parameters
    ----------
    low, high : int
        Least and greatest value that is accepted.
    multiple : int, power of two
        What it must be a multiple of.
    """

    low: int
    high: int
    multiple: int = 1

    @property
    def shape(self):
        """The narrowest shape that holds every accepted value."""
        if self.low < 0:
            return signed(max(bits_for(self.low), bits_for(self.high, require_sign_bit=True)))
        return unsigned(bits_for(self.high))

    def accepts(self, value: int) -> bool:
        """Whether a core takes that value."""
        return self.low <= value <= self.high and value % self.multiple == 0


def header_words(config: Config) -> dict[str, Word]:
    """The words of a program's header, in order.

    `lanes` and `group` are those of the build that the program is for: how kernels and tensors lie
    in memory depends on them. The first descriptor is at `first`, the others follow it.
    """
    return {
        "magic": Word(MAGIC, MAGIC),
        "version": Word(VERSION, VERSION),
        "lanes": Word(config.lanes, config.lanes),
        "group": Word(config.group, config.group),
        "tiles": Word(1, (1 << 20) - 1),
        "first": _address(config),
    }


def descriptor_words(config: Config) -> dict[str, Word]:
    """The words of a tile's descriptor, in order.

    Words without a prefix, and those of `pool`, are the fields of
    `hw.layouts.descriptor.LayerDescriptor`.
    A `..._plane` or `..._row` is the distance in bytes from a plane to the next, or from a row to
    the next. With `early`, ifm and residual may be loaded while the tile before is in work: they
    are in memory by then, and the ifm takes no place in the buffer of what that tile reads.
    `ifm_row_words` and `ifm_pixel_words` are distances in the ifm buffer, which has words for every
    2**`ifm_col_shift`-th column. Where a word is a patch of pixels, the last pixel in each of its
    rows is `pack_newest` lanes after the first, and what is loaded is part of patches up to
    `pack_above` rows above it. The rows of each group of G channels that a strip shares with its
    neighbours are at `edge_address`.
    """
    pixels = config.ofm_words
    flag = Word(0, 1)
    count = Word(1, pixels)
    some = Word(0, pixels)
    step = Word(0, config.ifm_words - 1)
    kernel = Word(1, config.weight_words)
    size = Word(1, MOST_SIZE)
    padding = Word(0, MOST_SIZE)
    address = _address(config)
    return {
        "opcode": Word(OPCODE_TILE, OPCODE_TILE),
        "layer": Word(0, (1 << 16) - 1),
        "early": flag,
        "height": count,
        "width": count,
        "pixels": count,
        "first_row": some,
        "restored": some,
        "spilled": some,
        "scored_row": some,
        "scored_end": some,
        "channels": Word(1, config.most_channels),
        "base": step,
        "first_base": step,
        "row_step": step,
        "col_step": step,
        "inner_count": kernel,
        "inner_step": step,
        "outer_count": kernel,
        "outer_step": step,
        "kernel_words": kernel,
        "period": Word(1, MAX_PERIOD),
        "pattern": Word(0, (1 << 2 * MAX_PERIOD) - 1),
        "first_residue": Word(0, MAX_PERIOD - 1),
        "ifm_signed": flag,
        "ofm_signed": flag,
        "zap": flag if config.predictor else Word(0, 0),
        "residual": flag,
        "residual_signed": flag,
        "pool.pooled": flag,
        "pool.average": flag,
        "pool.height": count,
        "pool.width": count,
        "pool.kernel_height": count,
        "pool.kernel_width": count,
        "pool.stride_height": count,
        "pool.stride_width": count,
        "pool.top": Word(-pixels, pixels - 1),
        "pool.left": Word(-pixels, 0),
        "pool.first_line": Word(0, pixels - 1),
        "pool.line_step": Word(0, pixels - 1),
        "pool.multiplier": Word(0, (1 << arithmetic.MULTIPLIER_BITS) - 1),
        "pool.shift": Word(0, arithmetic.SHIFT_MAX),
        "ifm_address": address,
        "ifm_row": address,
        "ifm_plane": address,
        "ifm_height": Word(0, MOST_SIZE),
        "ifm_width": size,
        "ifm_channels": size,
        "pad_top": padding,
        "pad_bottom": padding,
        "pad_left": padding,
        "pad_right": padding,
        "ifm_first_word": step,
        "ifm_row_words": Word(1, config.ifm_words),
        "ifm_pixel_words": Word(1, config.ifm_words),
        "ifm_col_shift": Word(0, MAX_COL_SHIFT),
        "pack_height": Word(1, config.lanes),
        "pack_width": Word(1, config.lanes),
        "pack_above": Word(0, config.lanes - 1),
        "pack_newest": Word(0, config.lanes - 1),
        "parameters": address,
        "weights": address,
        "residual_address": address,
        "residual_row": address,
        "residual_plane": address,
        "residual_first": Word(0, MOST_SIZE),
        "residual_planes": Word(0, MOST_SIZE),
        "residual_stride": size,
        "ofm_address": address,
        "ofm_plane": address,
        "ofm_words": count,
        "edge_address": address,
        "edge_plane": address,
        "counters": address,
    }


class TileDescriptor(data.StructLayout):
    """A tile's words as the core keeps them: each as narrow as its limits allow."""

    def __init__(self, config: Config) -> None:
        words = {name: word.shape for name, word in descriptor_words(config).items()}
        pool = {
            name.removeprefix("pool."): shape
            for name, shape in words.items()
            if name.startswith("pool.")
        }
        own = {name: shape for name, shape in words.items() if not name.startswith("pool.")}
        super().__init__({**own, "pool": data.StructLayout(pool)})


def pack_words(words: dict[str, Word], values: dict[str, int], size: int) -> bytes:
    """Values as they lie in memory, zero-extended to `size` bytes."""
    assert values.keys() == words.keys()
    for name, word in words.items():
        assert word.accepts(values[name]), f"{name} is {values[name]}"
    text = b"".join((values[name] & 0xFFFFFFFF).to_bytes(4, "little") for name in words)
    assert len(text) <= size
    return text.ljust(size, b"\0")


def _address(config: Config) -> Word:
    return Word(0, (1 << ADDRESS_BITS) - config.bus_bytes, config.bus_bytes)


assert BEATS_BITS <= ADDRESS_BITS
assert ceil_log2(DESCRIPTOR_BYTES) <= 12, "a descriptor is within a page"
