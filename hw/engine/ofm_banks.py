"""Ofm banks: collect activations of G channels, and hand them out while the next are computed."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.engine.halo_rows import HaloRows
from hw.engine.ofm_drain import OfmDrain
from hw.layouts.descriptor import LayerDescriptor

__all__ = ["OfmBanks"]


class OfmBanks(wiring.Component):
    """Collects G channels of an ofm into G-byte words and hands them out, pooled or as they are.

    One of its two banks is filled while the other leaves. A bank is all zero before it is filled
    again, so a skipped activation costs no write. Where every word leaves once, zero takes its
    place as it leaves, on a port that is idle then. With pooling, whose windows may overlap, and in
    a strip that shares rows with others, a pass over the bank follows instead. After reset both
    banks are cleared, which takes `ofm_words` cycles.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from `start` until idle.
    ready : Out(1)
        Neither bank is being cleared. Nothing may start before.
    start : In(1)
        A layer begins, with bank 0; taken while ready and idle.
    idle : Out(1)
        Every word has left.
    write : In(1)
        Store `value` at (`write_bank`, `write_index`, `write_lane`).
    halo : In(stream of G bytes), restored : Out(1), recalled : Out(stream of u8)
        See `hw.engine.halo_rows`.
    drain : In(1)
        Queue the next bank for leaving, the two in turn. At most two wait.
    drained : Out(1)
        A bank has been read and is clear.
    words : Out(stream of G bytes)
        A channel's lane is its number modulo G; channel 0 is in the lowest byte.
    """

    layer: data.View
    ready: Signal
    start: Signal
    idle: Signal
    write: Signal
    write_bank: Signal
    write_lane: Signal
    write_index: Signal
    value: Signal
    halo: stream.Interface
    restored: Signal
    recalled: stream.Interface
    drain: Signal
    drained: Signal
    words: stream.Interface

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
        self._bank = Signal(name="bank")  # the bank that leaves, or leaves next
        self._leaving = Signal(name="leaving")
        # Words that become zero, in the banks whose bit is set.
        self._clear = Signal(name="clear")
        self._clear_banks = Signal(2, name="clear_banks")
        self._clear_index = Signal(ceil_log2(config.ofm_words), name="clear_index")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.drain = drain = OfmDrain(self._config)
        m.submodules.halo = halo = HaloRows(self._config)
        connect(m, drain.words, flipped(self.words))
        connect(m, flipped(self.halo), halo.words)
        connect(m, halo.recalled, flipped(self.recalled))
        m.d.comb += [
            drain.layer.eq(self.layer),
            halo.layer.eq(self.layer),
            halo.start.eq(self.start),
            halo.drained.eq(self.drained),
            self.restored.eq(halo.restored),
        ]
        passing = self._clear_banks_behind(m, drain)

        waiting = Signal(range(3))
        m.d.sync += waiting.eq(waiting + self.drain - self.drained)
        m.d.comb += [
            drain.go.eq((waiting != 0) & ~self._leaving),
            self.idle.eq((waiting == passing) & drain.idle),
        ]
        with m.If(drain.go):
            m.d.sync += self._leaving.eq(1)
        with m.If(self.drained):
            m.d.sync += [self._leaving.eq(0), self._bank.eq(~self._bank)]
        with m.If(self.start):
            m.d.sync += self._bank.eq(0)

        stored = halo.writes
        m.d.comb += stored.ready.eq(~(self.write & (self.write_bank == stored.payload.bank)))
        words = [self._add_bank(m, number, drain, halo) for number in range(2)]
        halo_bank = Signal()
        m.d.sync += [
            halo_bank.eq(halo.bank),
            drain.word.eq(Mux(self._bank, words[1], words[0])),
            halo.word.eq(Mux(halo_bank, words[1], words[0])),
        ]
        return m

    def _clear_banks_behind(self, m: Module, drain: OfmDrain) -> Signal:
        """Clears a word when it is read, or a whole bank when all of it has been read.

        Returns whether such a pass over a whole bank is under way.
        """
        layer = self.layer
        passes = Signal()
        clearing = Signal(init=1)
        passing = Signal()
        follows = Signal()
        index_before = Signal.like(self._clear_index)
        pass_index = Signal.like(self._clear_index)
        m.d.sync += [
            passes.eq(layer.pool.pooled | (layer.restored != 0) | (layer.spilled != 0)),
            follows.eq(drain.read & ~passes),
            index_before.eq(drain.address),
        ]
        m.d.comb += [
            self.ready.eq(~clearing & ~passing),
            self._clear.eq(clearing | passing | follows),
            self._clear_banks.eq(Mux(clearing, 0b11, 1 << self._bank)),
            self._clear_index.eq(Mux(clearing | passing, pass_index, index_before)),
        ]
        with m.If(clearing | passing):
            m.d.sync += pass_index.eq(pass_index + 1)
        with m.If(clearing & (pass_index == self._config.ofm_words - 1)):
            m.d.sync += [clearing.eq(0), pass_index.eq(0)]
        with m.If(drain.done):
            with m.If(passes):
                m.d.sync += passing.eq(1)
            with m.Else():
                m.d.comb += self.drained.eq(1)
        with m.If(passing & (pass_index == layer.pixels - 1)):
            m.d.comb += self.drained.eq(1)
            m.d.sync += [passing.eq(0), pass_index.eq(0)]
        return passing

    def _add_bank(self, m: Module, number: int, drain: OfmDrain, halo: HaloRows) -> Signal:
        """Adds a bank's memory and returns the word that was read from it.

        Its write port is behind a register: nothing reads a word so soon after it was written.
        Results are written first, and halo rows in the cycles without one. Halo rows are read while
        no word leaves.
        """
        config = self._config
        ram: memory.Memory = memory.Memory(
            shape=unsigned(8 * config.group), depth=config.ofm_words, init=[]
        )
        m.submodules[f"bank{number}"] = ram
        write_port = ram.write_port(granularity=8)
        read_port = ram.read_port()
        address = Signal.like(write_port.addr)
        enable = Signal.like(write_port.en)
        word = Signal.like(write_port.data)
        m.d.sync += [
            write_port.addr.eq(address),
            write_port.en.eq(enable),
            write_port.data.eq(word),
        ]
        stored = halo.writes
        result_stored = self.write & (self.write_bank == number)
        with m.If(self._clear & self._clear_banks[number]):
            m.d.comb += [address.eq(self._clear_index), enable.eq(-1)]
        with m.Elif(result_stored):
            m.d.comb += [
                address.eq(self.write_index),
                word.eq(self.value.replicate(config.group)),
                enable.bit_select(self.write_lane, 1).eq(1),
            ]
        with m.Else():
            m.d.comb += [address.eq(stored.payload.index), word.eq(stored.payload.word)]
            with m.If(stored.valid & (stored.payload.bank == number)):
                m.d.comb += enable.eq(-1)
        leaves = self._leaving & (self._bank == number)
        m.d.comb += read_port.addr.eq(Mux(leaves, drain.address, halo.index))
        return read_port.data
