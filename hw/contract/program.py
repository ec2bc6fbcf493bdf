"""The words of a program in memory: headers and tile descriptors, words of 32 bits.

Every address in a program is an offset in bytes into the *window*, the memory that the host lets
the core use. So a program runs wherever the window lies. A program begins with one header for each
operating point. A header names a list of tile descriptors. A tile is a convolution, or a strip of
one, that runs from the buffers at a stretch.
Each word has limits, and the core refuses a program in which a word is outside them.

This module is the only place where the words and their limits are written down. `compiler.build`
fills them in, and `hw.layouts.descriptor` derives from them how wide the core keeps each word.

Tensors lie in memory as planes of G channels: plane after plane, each in raster order with G bytes
a pixel. A channel's byte in a pixel is its number modulo G. An ofm leaves the core in this order,
so loads and stores are long bursts; an ifm and a residual are read in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from golden import arithmetic
from golden.pattern import MAX_PERIOD
from hw.contract.bus import BEATS_BITS, OFFSET_BITS
from hw.contract.config import Config

__all__ = [
    "DESCRIPTOR_BYTES",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_COL_SHIFT",
    "MOST_SIZE",
    "MOST_SLOTS",
    "OFFSET_END",
    "OPCODE_TILE",
    "RESIDUE_BITS",
    "VERSION",
    "Word",
    "descriptor_words",
    "engine_words",
    "header_words",
    "pack_words",
    "residues_word",
    "width",
]

MAGIC = 0x50415A43
"""First word of a header: `CZAP` as text."""
VERSION = 6
"""Changes whenever an older core would misread a newer program."""
OPCODE_TILE = 1
HEADER_BYTES = 32
DESCRIPTOR_BYTES = 320
"""Space for every word, rounded up to whole beats of any bus."""

RESIDUE_BITS = (MAX_PERIOD - 1).bit_length()
"""Of each half of the word `residues`."""

MAX_COL_SHIFT = 2
"""For a stride of 4 columns."""
MOST_SLOTS = 7
"""Slices of an ifm that the core keeps account of in its buffer."""

OFFSET_END = 1 << OFFSET_BITS
"""The first offset that no window reaches."""

MOST_SIZE = 4096
"""Largest height, width or number of channels of a tensor."""


def width(low: int, high: int) -> int:
    """Bits of the narrowest number that holds low .. high; at least 1.

    One of them is a sign bit if `low` is negative.
    """
    magnitude = max(high, ~low if low < 0 else 0).bit_length()
    return max(magnitude + (low < 0), 1)


@dataclass(frozen=True)
class Word:
    """A word of 32 bits of a header or descriptor.

    Parameters
    ----------
    low, high : int
        Least and greatest value that is accepted. The word is signed if `low` is negative.
    text : str
        What it says.
    multiple : int, power of two
        What it must be a multiple of.
    """

    low: int
    high: int
    text: str
    multiple: int = 1

    @property
    def signed(self) -> bool:
        """Say whether it may be negative."""
        return self.low < 0

    @property
    def bits(self) -> int:
        """Width of the narrowest number that holds every accepted value."""
        return width(self.low, self.high)

    def accepts(self, value: int) -> bool:
        """Say whether a core takes that value."""
        return self.low <= value <= self.high and value % self.multiple == 0


def _address(config: Config, text: str) -> Word:
    """A word that is the offset of something into the window."""
    return Word(0, OFFSET_END - config.bus_bytes, text, config.bus_bytes)


def _distance(config: Config, text: str) -> Word:
    """A word that is a distance in memory, in bytes."""
    return Word(0, OFFSET_END - config.bus_bytes, text, config.bus_bytes)


def _flag(text: str) -> Word:
    return Word(0, 1, text)


def header_words(config: Config) -> dict[str, Word]:
    """The words of a program's header, in order.

    `lanes` and `group` must be those of the core's configuration, because the layout of kernels and
    tensors in memory depends on them.
    """
    return {
        "magic": Word(MAGIC, MAGIC, "marks a header"),
        "version": Word(VERSION, VERSION, "version of the program's format"),
        "lanes": Word(config.lanes, config.lanes, "V, lanes of the core that it is for"),
        "group": Word(config.group, config.group, "G, channels of a plane"),
        "tiles": Word(1, (1 << 20) - 1, "number of tiles"),
        "first": _address(config, "the first descriptor; the others follow it"),
    }


def descriptor_words(config: Config) -> dict[str, Word]:
    """The words of a tile's descriptor, in order."""
    return {
        "opcode": Word(OPCODE_TILE, OPCODE_TILE, "what to do: run a tile"),
        "layer": Word(0, (1 << 16) - 1, "number of the layer, for registers and faults"),
        "early": _flag(
            "ifm and residual may be loaded while the tile before is in work: they are in memory "
            "by then, and the ifm overwrites nothing in the buffer that that tile reads"
        ),
        **engine_words(config),
        **_memory_words(config),
    }


def engine_words(config: Config) -> dict[str, Word]:
    """The words that the layer engine runs by; those of its pooling begin with `pool.`.

    The engine computes a *region*: the rows of an ofm that one of its banks holds. A whole layer
    has one region. A strip's region may share rows with that of the strip above, which are
    *restored*, and with that of the strip below, for which they are *spilled*.

    The ifm lies in its buffer with its padding written out. For the ofm pixel at (row, col) of the
    region, step i of the kernel reads the word at `base + row * row_step + col * col_step` plus an
    offset. The offset runs through `outer_count` kernel rows of `inner_count` steps each. Addresses
    wrap at the size of the buffer, so a step back is written as a step forwards around it.

    The ifm may come in *slices*, one after another: the planes that the kernels of `slice_channels`
    channels read. The array works on a slice as soon as it is loaded. For the next slice every
    address is `slice_step` further. Where that is 0, the ifm is one slice, and it is loaded before
    the array starts.

    The bits of `pattern` begin with the residue of the region's first position and repeat to twice
    the longest period, so that the bits after any residue can be read without a division.
    """
    pixels = config.ofm_words

    def count(text: str) -> Word:
        return Word(1, pixels, text)

    def some(text: str) -> Word:
        return Word(0, pixels, text)

    def step(text: str) -> Word:
        return Word(0, config.ifm_words - 1, text)

    def kernel(text: str) -> Word:
        return Word(1, config.weight_words, text)

    zap = "whether the layer has a ZAP"
    return {
        "height": count("rows of the region"),
        "width": count("columns of the region, which are those of the ofm"),
        "pixels": count("pixels of the region"),
        "first_row": some("first row of the region that is computed; those above are restored"),
        "restored": some("pixels that are restored: computed by the strip above"),
        "spilled": some("last pixels of the region that also leave for the strip below"),
        "scored_row": some("first row in which `I_t` is decided"),
        "scored_end": some("first row after those in which `I_t` is decided"),
        "channels": Word(1, config.most_channels, "output channels"),
        "slice_channels": Word(1, config.most_channels, "channels of the ofm that read a slice"),
        "slice_step": step("ifm words from a slice to the next; 0 where there is one"),
        "base": step("ifm address of the kernel's first word for the region's first pixel"),
        "first_base": step("the same for the first pixel of `first_row`"),
        "row_step": step("ifm words from a pixel to the one below it"),
        "col_step": step("ifm words from a pixel to the next in its row"),
        "inner_count": kernel("steps of a kernel row"),
        "inner_step": step("ifm words from a step to the next in its kernel row"),
        "outer_count": kernel("kernel rows"),
        "outer_step": step("ifm words from the last step of a kernel row to the next row's first"),
        "kernel_words": kernel("words of a channel's weights: inner_count * outer_count"),
        "period": Word(1, MAX_PERIOD, "period of the pattern"),
        "pattern": Word(0, (1 << 2 * MAX_PERIOD) - 1, "a one for each residue of `I_s`, repeated"),
        "residues": Word(
            0,
            (1 << 2 * RESIDUE_BITS) - 1,
            f"low {RESIDUE_BITS} bits: residue of `first_row`'s first position; next "
            f"{RESIDUE_BITS}: residues from a position to the one below it",
        ),
        "ifm_signed": _flag("the ifm is s8, not u8"),
        "ofm_signed": _flag("the ofm is s8, not u8"),
        "zap": _flag(zap) if config.predictor else Word(0, 0, zap),
        "residual": _flag("a residual is added"),
        "residual_signed": _flag("the residual is s8, not u8"),
        "pool.pooled": _flag("the ofm is pooled; if not, windows are single pixels"),
        "pool.average": _flag("average pooling, not max pooling"),
        "pool.height": count("rows of the pooled map"),
        "pool.width": count("columns of the pooled map"),
        "pool.kernel_height": count("rows of a window"),
        "pool.kernel_width": count("columns of a window"),
        "pool.stride_height": count("rows from a window to the one below it"),
        "pool.stride_width": count("columns from a window to the next"),
        "pool.top": Word(-pixels, pixels - 1, "the first window's first row in the region"),
        "pool.left": Word(-pixels, 0, "the first window's first column"),
        "pool.first_line": Word(0, pixels - 1, "pool.top * width, modulo the words of a bank"),
        "pool.line_step": Word(0, pixels - 1, "stride_height * width, modulo the words of a bank"),
        "pool.multiplier": Word(
            0, (1 << arithmetic.MULTIPLIER_BITS) - 1, "requantisation of an average's sum"
        ),
        "pool.shift": Word(0, arithmetic.SHIFT_MAX, "requantisation of an average's sum"),
    }


def _memory_words(config: Config) -> dict[str, Word]:
    """The words that say where a tile's data is in memory and how it goes into the buffers.

    In the ifm buffer a word is a pixel's channels, or a patch of pixels. A row of the buffer has
    words for every 2**`ifm_col_shift`-th column.
    """

    def size(text: str) -> Word:
        return Word(1, MOST_SIZE, text)

    def maybe(text: str) -> Word:
        return Word(0, MOST_SIZE, text)

    return {
        "ifm_address": _address(config, "the first row of the ifm that is loaded"),
        "ifm_row": _distance(config, "from a row of the ifm that is loaded to the next"),
        "ifm_plane": _distance(config, "from a plane of the ifm to the next"),
        "ifm_height": maybe("rows of the ifm that are loaded, padding not counted"),
        "ifm_width": size("columns of the ifm"),
        "ifm_channels": size("channels of the ifm, or of a slice"),
        "pad_top": maybe("rows of zeros above what is loaded"),
        "pad_bottom": maybe("rows of zeros below"),
        "pad_left": maybe("columns of zeros on the left"),
        "pad_right": maybe("columns of zeros on the right"),
        "ifm_first_word": Word(0, config.ifm_words - 1, "buffer address of the first row"),
        "ifm_row_words": Word(1, config.ifm_words, "buffer words of a row"),
        "ifm_pixel_words": Word(1, config.ifm_words, "buffer words of a pixel or patch"),
        "ifm_col_shift": Word(0, MAX_COL_SHIFT, "words are kept for every 2**shift-th column"),
        "pack_height": Word(1, config.lanes, "rows of a patch; 1 where a word is one pixel"),
        "pack_width": Word(1, config.lanes, "columns of a patch; 1 where a word is one pixel"),
        "pack_above": Word(
            0, config.lanes - 1, "rows above the first that is loaded whose patches it is part of"
        ),
        "pack_newest": Word(
            0, config.lanes - 1, "lanes from the first pixel in a row of a patch to the last"
        ),
        "pack_apart": _flag("patches begin at every `pack_height`-th row alone, not at every row"),
        "ifm_slice": _distance(config, "from a slice of the ifm to the next"),
        "ifm_slots": Word(1, MOST_SLOTS, "slices that the buffer holds at a time"),
        "parameters": _address(config, "the channels' records"),
        "weights": _address(config, "the channels' weights"),
        "residual_address": _address(config, "the residual's first row in the region"),
        "residual_row": _distance(config, "from a row of the residual that is added to the next"),
        "residual_plane": _distance(config, "from a plane of the residual to the next"),
        "residual_first": maybe("first plane of the ofm that a residual is added to"),
        "residual_planes": maybe("planes of the residual"),
        "residual_stride": size("columns of the residual from one that is added to the next"),
        "ofm_address": _address(config, "the first row that leaves"),
        "ofm_plane": _distance(config, "from a plane of the ofm to the next"),
        "ofm_words": Word(1, config.ofm_words, "pixels that leave, of each plane"),
        "halo_address": _address(config, "the rows that strips of this layer share"),
        "halo_plane": _distance(config, "from a plane of these rows to the next"),
        "counters": _address(config, "where the tile's counters are stored; 0 for nowhere"),
    }


def residues_word(first: int, of_row: int) -> int:
    """The word `residues` of an engine's layer: the first row's residue, and what a row adds."""
    return first | of_row << RESIDUE_BITS


def pack_words(words: Mapping[str, Word], values: Mapping[str, int], size: int) -> bytes:
    """Values as they lie in memory, zero-extended to `size` bytes."""
    assert values.keys() == words.keys()
    for name, word in words.items():
        assert word.accepts(values[name]), f"{name} is {values[name]}"
    text = b"".join((values[name] & 0xFFFFFFFF).to_bytes(4, "little") for name in words)
    assert len(text) <= size
    return text.ljust(size, b"\0")


assert BEATS_BITS <= OFFSET_BITS
assert DESCRIPTOR_BYTES <= 1 << 12, "a descriptor is within a page"
