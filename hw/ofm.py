"""Ofm banks: collect G channels of an ofm and let them leave."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hw.config import Config
from hw.descriptor import LayerDescriptor
from hw.drain import Drain

__all__ = ["OfmBanks"]


class OfmBanks(wiring.Component):
    """Collects G channels of an ofm into G-byte words and hands them out, pooled or as they are.

    Of its two banks one is filled while the other leaves. A bank that has left is all zero before
    it is filled again, so that a skipped activation costs no write at all: without pooling each
    word is replaced by zero as it leaves, on a port that is idle then; with pooling, whose windows
    may overlap, a pass over the bank follows. After reset both banks are cleared, which takes
    `ofm_words` cycles.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from `start` until idle.
    ready : Out(1)
        The banks are clear; nothing may be written before.
    start : In(1)
        A layer begins, with bank 0.
    idle : Out(1)
        No word is left to leave.
    write : In(1)
        Store `value` at (`write_bank`, `write_index`, `write_lane`).
    drain : In(1)
        Queue the next bank for leaving, the two in turn. At most two wait.
    drained : Out(1)
        A bank has been read and is clear.
    words : Out(stream of G bytes)
        The lane of a channel is its number modulo G, channel 0 in the lowest byte.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "ready": Out(1),
                "start": In(1),
                "idle": Out(1),
                "write": In(1),
                "write_bank": In(1),
                "write_lane": In(ceil_log2(config.group)),
                "write_index": In(ceil_log2(config.ofm_words)),
                "value": In(8),
                "drain": In(1),
                "drained": Out(1),
                "words": Out(stream.Signature(unsigned(8 * config.group))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        word_bits = 8 * config.group
        m.submodules.drain = drain = Drain(config)
        connect(m, drain.words, flipped(self.words))

        bank = Signal()
        waiting = Signal(range(3))
        busy = Signal()
        m.d.sync += waiting.eq(waiting + self.drain - self.drained)
        m.d.comb += [
            drain.layer.eq(self.layer),
            drain.go.eq((waiting != 0) & ~busy),
            self.idle.eq((waiting == 0) & drain.idle),
        ]
        with m.If(drain.go):
            m.d.sync += busy.eq(1)

        # Zero follows: a read word at once, or the whole bank when the last window has been read.
        clearing = Signal(init=1)
        clear = Signal()
        clear_bank = Signal(2)
        clear_index = Signal(ceil_log2(config.ofm_words))
        read_before = Signal()
        index_before = Signal.like(clear_index)
        pooled_clear = Signal()
        pass_index = Signal.like(clear_index)
        m.d.sync += [read_before.eq(drain.read), index_before.eq(drain.address)]
        m.d.comb += [
            self.ready.eq(~clearing),
            clear.eq(clearing | pooled_clear | (read_before & ~self.layer.pool.pooled)),
            clear_bank.eq(Mux(clearing, 0b11, 1 << bank)),
            clear_index.eq(Mux(clearing | pooled_clear, pass_index, index_before)),
        ]
        with m.If(clearing | pooled_clear):
            m.d.sync += pass_index.eq(pass_index + 1)
        with m.If(clearing & (pass_index == config.ofm_words - 1)):
            m.d.sync += [clearing.eq(0), pass_index.eq(0)]
        with m.If(drain.done):
            with m.If(self.layer.pool.pooled):
                m.d.sync += pooled_clear.eq(1)
            with m.Else():
                m.d.comb += self.drained.eq(1)
        with m.If(pooled_clear & (pass_index == self.layer.pixels - 1)):
            m.d.comb += self.drained.eq(1)
            m.d.sync += [pooled_clear.eq(0), pass_index.eq(0)]
        with m.If(self.drained):
            m.d.sync += [busy.eq(0), bank.eq(~bank)]
        with m.If(self.start):
            m.d.sync += bank.eq(0)

        leaving = []
        for number in range(2):
            ram = memory.Memory(shape=unsigned(word_bits), depth=config.ofm_words, init=[])
            m.submodules[f"bank{number}"] = ram
            write_port = ram.write_port(granularity=8)
            read_port = ram.read_port()
            m.d.comb += read_port.addr.eq(drain.address)
            leaving.append(read_port.data)
            with m.If(clear & clear_bank[number]):
                m.d.comb += [write_port.addr.eq(clear_index), write_port.en.eq(-1)]
            with m.Else():
                m.d.comb += [
                    write_port.addr.eq(self.write_index),
                    write_port.data.eq(self.value.replicate(config.group)),
                ]
                with m.If(self.write & (self.write_bank == number)):
                    m.d.comb += write_port.en.bit_select(self.write_lane, 1).eq(1)
        m.d.comb += drain.word.eq(Mux(bank, leaving[1], leaving[0]))
        return m
