"""Descriptor reader: takes the words of headers and tile descriptors from memory and checks them.

A word is taken in each cycle, and is checked against its limits (`hw.contract.program`) while the
next ones arrive. Only the words that the core uses are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from golden.arithmetic import ceil_div
from hw.contract.config import Config
from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    Word,
    descriptor_words,
    header_words,
)
from hw.layouts.descriptor import TileDescriptor, word_shape
from hw.lib.pipeline import delayed
from hw.lib.register_copies import register_copies
from hw.lib.structs import struct_signal
from hw.lib.width_converter import Downsizer

__all__ = ["DescriptorReader", "ProgramHeader"]

_WORD_BITS = 32
_UNITS = 8
"""Words that share a flag of the higher part of a word's number."""


class ProgramHeader(data.StructLayout):
    """The words of a header that are kept: the number of tiles, and the first one's address."""

    def __init__(self, config: Config) -> None:
        words = header_words(config)
        super().__init__({name: word_shape(words[name]) for name in ("tiles", "first")})


class DescriptorReader(wiring.Component):
    """Reads one header or one tile descriptor at a time.

    Members
    -------
    beats : In(stream of beats)
    reading : In(1)
        Take words. It falls when `ended` is high.
    is_header : In(1)
        The words are those of a header; stable while `reading`.
    ended : Out(1)
        The last word has been checked and kept; for one cycle.
    header : Out(ProgramHeader)
    tile : Out(TileDescriptor)
    bad : Out(1)
        A word was outside its limits; high until a reset.
    bad_word : Out(8)
        Number of the first such word in its header or descriptor.
    """

    beats: stream.Interface
    reading: Signal
    is_header: Signal
    ended: Signal
    header: data.View[ProgramHeader]
    tile: data.View[TileDescriptor]
    bad: Signal
    bad_word: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "beats": In(stream.Signature(unsigned(config.bus_bits))),
                "reading": In(1),
                "is_header": In(1),
                "ended": Out(1),
                "header": Out(ProgramHeader(config)),
                "tile": Out(TileDescriptor(config)),
                "bad": Out(1),
                "bad_word": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.words = words = Downsizer(_WORD_BITS, config.bus_bits // _WORD_BITS)
        connect(m, flipped(self.beats), words.i)
        tile = struct_signal(TileDescriptor(config), name="tile", reset_less=True)
        m.d.comb += [words.o.ready.eq(self.reading), self.tile.eq(tile)]

        # One flag of `unit` and one of `eight` are set; together they are the number of the next
        # word. No more words come than were asked for.
        taken = words.o.valid & words.o.ready
        number, last = Signal(8), Signal()
        unit = Signal(_UNITS, init=1)
        eight = Signal(ceil_div(DESCRIPTOR_BYTES, 4 * _UNITS), init=1)
        m.d.comb += last.eq(
            number == Mux(self.is_header, HEADER_BYTES // 4, DESCRIPTOR_BYTES // 4) - 1
        )
        with m.If(taken):
            m.d.sync += [number.eq(number + 1), unit.eq(unit.rotate_left(1))]
            with m.If(unit[-1]):
                m.d.sync += eight.eq(eight.rotate_left(1))
            with m.If(last):
                m.d.sync += [number.eq(0), unit.eq(1), eight.eq(1)]

        # A word is registered before it is compared with its limits, because memory is slow to
        # answer, and once more afterwards. What is compared is a copy that has no other use.
        word = Signal(_WORD_BITS, reset_less=True)
        m.d.sync += word.eq(words.o.payload)
        (checked,) = register_copies(m, platform, words.o.payload, 1)
        refused: list[Value] = []
        tables: list[tuple[Value, Mapping[str, Word], Any]] = [
            (taken & self.is_header, header_words(config), self.header),
            (taken & ~self.is_header, descriptor_words(config), tile),
        ]
        for of_table, table, kept in tables:
            for position, (name, limits) in enumerate(table.items()):
                eights, units = divmod(position, _UNITS)
                here = delayed(m, of_table & unit[units] & eight[eights], 1)
                refused.append(delayed(m, here & ~_accepts(limits, checked), 1))
                field = _field(kept, name)
                if field is not None:
                    with m.If(here):
                        m.d.sync += field.eq(word)
        wrong, wrong_number = delayed(m, Cat(refused).any(), 1), delayed(m, number, 3)
        m.d.comb += self.ended.eq(delayed(m, taken & last, 3))
        with m.If(wrong & ~self.bad):
            m.d.sync += [self.bad.eq(1), self.bad_word.eq(wrong_number)]
        return m


def _accepts(limits: Word, word: Signal) -> Value:
    """`Word.accepts` in hardware."""
    value = word.as_signed() if limits.low < 0 else word
    accepted = word[: ceil_log2(limits.multiple)] == 0
    if limits.high + limits.multiple < 1 << len(word):
        accepted &= value <= limits.high
    if limits.low != 0:
        accepted &= value >= limits.low
    return accepted


def _field(kept: Any, name: str) -> Any:
    """The field of a structure in which a word is kept, or None where it is not kept."""
    first, _, rest = name.partition(".")
    if first not in kept.shape().members:
        return None
    return _field(kept[first], rest) if rest else kept[first]
