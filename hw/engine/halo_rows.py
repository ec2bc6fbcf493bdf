"""Halo rows: the rows that a strip takes over from the strip above it.

They come as the G-byte words that the strip above spilled, group after group of G channels, and go
where they would lie if this strip had computed them. From there the predictor receives them,
channel after channel. All of this uses the gaps of the banks' ports: no result waits for it, but
the predictor may.
"""

from amaranth import Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.contract.config import Config
from hw.layouts.descriptor import LayerDescriptor
from hw.lib.pipeline import delayed

__all__ = ["BankWrite", "HaloRows"]

_QUEUE = 4
"""Values that may be on their way from a bank to the predictor, in memory or in the queue."""


class BankWrite(data.StructLayout):
    """A whole word for an ofm bank, and its place."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {"bank": 1, "index": ceil_log2(config.ofm_words), "word": 8 * config.group}
        )


class HaloRows(wiring.Component):
    """Restores the first rows of each group of G channels, and recalls them channel by channel.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from `start` on. A strip without `restored` pixels takes no words.
    start : In(1)
        A strip begins, with bank 0; both banks are clear.
    drained : In(1)
        A bank has been read and is clear.
    words : In(stream of G bytes)
        `restored` words for each group.
    writes : Out(stream of BankWrite)
    restored : Out(1)
        The rows of one more group are in their bank.
    bank, index : Out
        Position of the word to be read.
    word : In(8 * G)
        The word of the position of two cycles before.
    recalled : Out(stream of u8)
        See `hw.predictor.predictor`. A strip without ZAP recalls nothing.
    """

    layer: data.View
    start: Signal
    drained: Signal
    words: stream.Interface
    writes: stream.Interface
    restored: Signal
    bank: Signal
    index: Signal
    word: Signal
    recalled: stream.Interface

    def __init__(self, config: Config) -> None:
        self._config = config
        word = 8 * config.group
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "start": In(1),
                "drained": In(1),
                "words": In(stream.Signature(unsigned(word))),
                "writes": Out(stream.Signature(BankWrite(config))),
                "restored": Out(1),
                "bank": Out(1),
                "index": Out(ceil_log2(config.ofm_words)),
                "word": In(word),
                "recalled": Out(stream.Signature(unsigned(8))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        layer = self.layer
        last_index = Signal.like(self.index)
        m.d.comb += last_index.eq(layer.restored - 1)

        channels_left = Signal(signed(bits_for(config.most_channels) + 1))
        clear = Signal(range(3))
        target = self.writes.payload
        wanted = Signal()
        last = Signal()
        m.d.comb += [
            wanted.eq((channels_left > 0) & (clear != 0) & ~self.start),
            self.writes.valid.eq(wanted & self.words.valid),
            self.words.ready.eq(wanted & self.writes.ready),
            target.word.eq(self.words.payload),
            last.eq(self.words.valid & self.words.ready & (target.index == last_index)),
            self.restored.eq(delayed(m, last, 1)),  # the bank's write port is as late
        ]
        m.d.sync += clear.eq(clear + self.drained - last)
        with m.If(self.words.valid & self.words.ready):
            m.d.sync += target.index.eq(target.index + 1)
        with m.If(last):
            m.d.sync += [
                target.index.eq(0),
                target.bank.eq(~target.bank),
                channels_left.eq(channels_left - config.group),
            ]
        with m.If(self.start):
            m.d.sync += [
                channels_left.eq(Mux(layer.restored != 0, layer.channels, 0)),
                clear.eq(2),
                target.index.eq(0),
                target.bank.eq(0),
            ]
        if config.predictor:
            self._recall(m, last_index)
        return m

    def _recall(self, m: Module, last_index: Signal) -> None:
        """Reads the restored rows of each channel for the predictor."""
        config = self._config
        layer = self.layer
        m.submodules.queue = queue = SyncFIFO(width=8, depth=_QUEUE)
        group_bits = ceil_log2(config.group)
        channel = Signal(bits_for(config.most_channels))
        held = Signal(range(3))
        reserved = Signal(range(_QUEUE + 1))
        reads = Signal()
        channel_ends = Signal()
        group_ends = Signal()
        last_channel = channel + 1 == layer.channels
        m.d.comb += [
            reads.eq((held != 0) & (reserved != _QUEUE)),
            channel_ends.eq(reads & (self.index == last_index)),
            group_ends.eq(channel_ends & (channel[:group_bits].all() | last_channel)),
            queue.w_en.eq(delayed(m, reads, 2)),
            queue.w_data.eq(self.word.word_select(delayed(m, channel[:group_bits], 2), 8)),
            self.recalled.payload.eq(queue.r_data),
            self.recalled.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.recalled.ready),
        ]
        leaves = self.recalled.valid & self.recalled.ready
        m.d.sync += [
            held.eq(held + (self.restored & layer.zap) - group_ends),
            reserved.eq(reserved + reads - leaves),
        ]
        with m.If(reads):
            m.d.sync += self.index.eq(self.index + 1)
        with m.If(channel_ends):
            m.d.sync += [self.index.eq(0), channel.eq(channel + 1)]
        with m.If(group_ends):
            m.d.sync += self.bank.eq(~self.bank)
        with m.If(self.start):
            m.d.sync += [s.eq(0) for s in (channel, held, self.index, self.bank)]
