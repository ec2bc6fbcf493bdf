"""Ofm banks: collect G channels of an ofm, or of a strip of it, and let them leave."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.engine.halo_rows import HaloRows
from hw.engine.ofm_drain import OfmDrain
from hw.layouts.descriptor import LayerDescriptor

__all__ = ["OfmBanks"]


class OfmBanks(wiring.Component):
    """Collects G channels of an ofm into G-byte words and hands them out, pooled or as they are.

    Of its two banks one is filled while the other leaves. A bank that has left is all zero before
    it is filled again, so that a skipped activation costs no write at all: where every word leaves
    once, zero takes its place, on a port that is idle then; with pooling, whose windows may
    overlap, and in a strip that shares rows with others, a pass over the bank follows. After reset
    both banks are cleared, which takes `ofm_words` cycles.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from `start` until idle.
    ready : Out(1)
        Neither bank is being cleared. Nothing may start before.
    start : In(1)
        A layer begins, with bank 0; taken while ready and idle.
    idle : Out(1)
        No word is left to leave.
    write : In(1)
        Store `value` at (`write_bank`, `write_index`, `write_lane`).
    halo : In(stream of G bytes), restored : Out(1), recalled : Out(stream of u8)
        See `hw.engine.halo_rows`.
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
                "halo": In(stream.Signature(unsigned(8 * config.group))),
                "restored": Out(1),
                "recalled": Out(stream.Signature(unsigned(8))),
                "drain": In(1),
                "drained": Out(1),
                "words": Out(stream.Signature(unsigned(8 * config.group))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        word_bits = 8 * config.group
        m.submodules.drain = drain = OfmDrain(config)
        connect(m, drain.words, flipped(self.words))
        m.submodules.halo = halo = HaloRows(config)
        connect(m, flipped(self.halo), halo.words)
        connect(m, halo.recalled, flipped(self.recalled))

        bank = Signal()
        waiting = Signal(range(3))
        busy = Signal()
        passing = Signal()
        m.d.sync += waiting.eq(waiting + self.drain - self.drained)
        m.d.comb += [
            drain.layer.eq(self.layer),
            halo.layer.eq(self.layer),
            halo.start.eq(self.start),
            halo.drained.eq(self.drained),
            self.restored.eq(halo.restored),
            drain.go.eq((waiting != 0) & ~busy),
            self.idle.eq((waiting == passing) & drain.idle),
        ]
        with m.If(drain.go):
            m.d.sync += busy.eq(1)

        # Zero follows: a read word at once, or the whole bank when all has been read.
        passes = Signal()
        clearing = Signal(init=1)
        clear = Signal()
        clear_bank = Signal(2)
        clear_index = Signal(ceil_log2(config.ofm_words))
        follows = Signal()
        index_before = Signal.like(clear_index)
        pass_index = Signal.like(clear_index)
        m.d.sync += [
            passes.eq(
                self.layer.pool.pooled | (self.layer.restored != 0) | (self.layer.spilled != 0)
            ),
            follows.eq(drain.read & ~passes),
            index_before.eq(drain.address),
        ]
        m.d.comb += [
            self.ready.eq(~clearing & ~passing),
            clear.eq(clearing | passing | follows),
            clear_bank.eq(Mux(clearing, 0b11, 1 << bank)),
            clear_index.eq(Mux(clearing | passing, pass_index, index_before)),
        ]
        with m.If(clearing | passing):
            m.d.sync += pass_index.eq(pass_index + 1)
        with m.If(clearing & (pass_index == config.ofm_words - 1)):
            m.d.sync += [clearing.eq(0), pass_index.eq(0)]
        with m.If(drain.done):
            with m.If(passes):
                m.d.sync += passing.eq(1)
            with m.Else():
                m.d.comb += self.drained.eq(1)
        with m.If(passing & (pass_index == self.layer.pixels - 1)):
            m.d.comb += self.drained.eq(1)
            m.d.sync += [passing.eq(0), pass_index.eq(0)]
        with m.If(self.drained):
            m.d.sync += [busy.eq(0), bank.eq(~bank)]
        with m.If(self.start):
            m.d.sync += bank.eq(0)

        # What is written is so a cycle later; the first to read it come later still. Results are
        # written first, edge rows where there is none; those are read where no word
        # leaves.
        stored = halo.writes
        m.d.comb += stored.ready.eq(~(self.write & (self.write_bank == stored.payload.bank)))
        read_words = []
        for number in range(2):
            ram = memory.Memory(shape=unsigned(word_bits), depth=config.ofm_words, init=[])
            m.submodules[f"bank{number}"] = ram
            write_port = ram.write_port(granularity=8)
            read_port = ram.read_port()
            address, enable = Signal.like(write_port.addr), Signal.like(write_port.en)
            word = Signal.like(write_port.data)
            m.d.sync += [
                write_port.addr.eq(address),
                write_port.en.eq(enable),
                write_port.data.eq(word),
            ]
            leaves = busy & (bank == number)
            m.d.comb += read_port.addr.eq(Mux(leaves, drain.address, halo.index))
            read_words.append(read_port.data)
            with m.If(clear & clear_bank[number]):
                m.d.comb += [address.eq(clear_index), enable.eq(-1)]
            with m.Elif(self.write & (self.write_bank == number)):
                m.d.comb += [
                    address.eq(self.write_index),
                    word.eq(self.value.replicate(config.group)),
                    enable.bit_select(self.write_lane, 1).eq(1),
                ]
            with m.Else():
                m.d.comb += [
                    address.eq(stored.payload.index),
                    word.eq(stored.payload.word),
                ]
                with m.If(stored.valid & (stored.payload.bank == number)):
                    m.d.comb += enable.eq(-1)
        halo_bank = Signal()
        m.d.sync += halo_bank.eq(halo.bank)
        m.d.sync += [
            drain.word.eq(Mux(bank, read_words[1], read_words[0])),
            halo.word.eq(Mux(halo_bank, read_words[1], read_words[0])),
        ]
        return m
