"""Residual banks: hold the tensor that a layer adds, until a pixel's sum needs it.

They mirror the ofm banks. A residual arrives in the words in which an ofm leaves, each of one pixel
and G channels, group after group; it is read one pixel and channel at a time. One bank is read
while the other is filled.
"""

from amaranth import Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.contract.config import Config
from hw.layouts.descriptor import LayerDescriptor
from hw.lib.pipeline import delayed

__all__ = ["READ_LATENCY", "ResidualBanks"]

READ_LATENCY = 3
"""Cycles from a position to its value."""


class ResidualBanks(wiring.Component):
    """Holds the residual of the groups of G channels in work.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from `start` on. A layer without `residual` takes no words.
    start : In(1)
        A layer begins, with bank 0.
    words : In(stream of G bytes)
        `pixels` words for each group of G channels.
    loaded : Out(1)
        One more group is complete.
    freed : In(1)
        The oldest group is no longer needed.
    bank, lane, index : In
        Position of a channel's pixel.
    value : Out(signed(9))
        READ_LATENCY cycles after its position; 0 in a layer without `residual`.
    """

    layer: data.View
    start: Signal
    words: stream.Interface
    loaded: Signal
    freed: Signal
    bank: Signal
    lane: Signal
    index: Signal
    value: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "start": In(1),
                "words": In(stream.Signature(unsigned(8 * config.group))),
                "loaded": Out(1),
                "freed": In(1),
                "bank": In(1),
                "lane": In(ceil_log2(config.group)),
                "index": In(ceil_log2(config.ofm_words)),
                "value": Out(signed(9)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        layer = self.layer

        channels_left = Signal(signed(bits_for(config.most_channels) + 1))
        held = Signal(range(3))
        bank = Signal()
        pointer = Signal(ceil_log2(config.ofm_words))
        taken = self.words.valid & self.words.ready
        last = Signal()
        at_last = Signal()
        m.d.comb += [
            self.words.ready.eq((channels_left > 0) & (held != 2) & ~self.start),
            last.eq(taken & at_last),
            self.loaded.eq(delayed(m, last, 1)),  # the word is written as late
        ]
        m.d.sync += held.eq(held + last - self.freed)
        with m.If(taken):
            m.d.sync += [pointer.eq(pointer + 1), at_last.eq(pointer + 2 == layer.pixels)]
        with m.If(last):
            m.d.sync += [
                pointer.eq(0),
                at_last.eq(layer.pixels == 1),
                bank.eq(~bank),
                channels_left.eq(channels_left - config.group),
            ]
        with m.If(self.start):
            m.d.sync += [
                channels_left.eq(Mux(layer.residual, layer.channels, 0)),
                held.eq(0),
                bank.eq(0),
                pointer.eq(0),
                at_last.eq(layer.pixels == 1),
            ]

        words = []
        for number in range(2):
            ram: memory.Memory = memory.Memory(
                shape=unsigned(8 * config.group), depth=config.ofm_words, init=[]
            )
            m.submodules[f"bank{number}"] = ram
            write = ram.write_port()
            read = ram.read_port()
            m.d.comb += [
                write.en.eq(delayed(m, taken & (bank == number), 1)),
                write.addr.eq(delayed(m, pointer, 1)),
                write.data.eq(delayed(m, self.words.payload, 1)),
                read.addr.eq(self.index),
            ]
            words.append(read.data)
        word = Signal(8 * config.group, reset_less=True)
        byte = Signal(8)
        m.d.sync += word.eq(Mux(delayed(m, self.bank, 1), words[1], words[0]))
        m.d.comb += byte.eq(word.word_select(delayed(m, self.lane, 2), 8))
        extended = Mux(layer.residual_signed, byte.as_signed(), byte)
        m.d.sync += self.value.eq(Mux(layer.residual, extended, 0))
        return m
