"""On-chip memories: ifm buffer, weight ring, ofm banks."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.array import READ_LATENCY
from hw.config import Config

__all__ = ["IfmBuffer", "OfmBanks", "WeightBuffer", "WordWrite"]

assert READ_LATENCY == 2, "a synchronous memory and one output register"


class WordWrite(data.StructLayout):
    """A word on its way into a buffer."""

    def __init__(self, address_bits: int, word_bits: int) -> None:
        super().__init__({"address": address_bits, "word": word_bits})


class IfmBuffer(wiring.Component):
    """The ifm of a layer, one V-byte word read for each PE every cycle.

    A copy holds two read ports, the first of which shares its address with the write port: what a
    true dual-port block RAM offers. Words are written while the array rests.

    Members
    -------
    writes : In(stream of WordWrite), always ready
    address : In(address).array(P)
    word : Out(8 * V).array(P)
        READ_LATENCY cycles after its address.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        address = ceil_log2(config.ifm_words)
        word = 8 * config.lanes
        super().__init__(
            {
                "writes": In(stream.Signature(WordWrite(address, word), always_ready=True)),
                "address": In(address).array(config.pes),
                "word": Out(word).array(config.pes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        word = unsigned(8 * config.lanes)
        for copy, first in enumerate(range(0, config.pes, 2)):
            ram = memory.Memory(shape=word, depth=config.ifm_words, init=[])
            m.submodules[f"ram{copy}"] = ram
            write = ram.write_port()
            write_address = Mux(self.writes.valid, self.writes.payload.address, self.address[first])
            m.d.comb += [
                write.en.eq(self.writes.valid),
                write.addr.eq(write_address),
                write.data.eq(self.writes.payload.word),
            ]
            for place in range(first, min(first + 2, config.pes)):
                read = ram.read_port()
                shared = place == first
                m.d.comb += read.addr.eq(write_address if shared else self.address[place])
                m.d.sync += self.word[place].eq(read.data)
        return m


class WeightBuffer(wiring.Component):
    """The weights of the channels in work and of those loaded ahead, a ring of V-byte words.

    Members
    -------
    writes : In(stream of WordWrite), always ready
    address : In(address)
    word : Out(8 * V)
        READ_LATENCY cycles after its address.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        address = ceil_log2(config.weight_words)
        word = 8 * config.lanes
        super().__init__(
            {
                "writes": In(stream.Signature(WordWrite(address, word), always_ready=True)),
                "address": In(address),
                "word": Out(word),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        ram = memory.Memory(shape=unsigned(8 * config.lanes), depth=config.weight_words, init=[])
        m.submodules.ram = ram
        write = ram.write_port()
        read = ram.read_port()
        m.d.comb += [
            write.en.eq(self.writes.valid),
            write.addr.eq(self.writes.payload.address),
            write.data.eq(self.writes.payload.word),
            read.addr.eq(self.address),
        ]
        m.d.sync += self.word.eq(read.data)
        return m


class OfmBanks(wiring.Component):
    """Collects G channels of an ofm into G-byte words and hands them out in raster order.

    Of its two banks one is filled while the other leaves. A word that leaves is replaced by zero,
    so that a bank is all zero when it is filled again: a skipped activation costs no write at all.
    After reset both banks are cleared, which takes `ofm_words` cycles.

    Members
    -------
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
        The last word of a bank has been read and the bank is clear.
    pixels : In
        Words of a bank that leave.
    words : Out(stream of G bytes)
        The lane of a channel is its number modulo G, channel 0 in the lowest byte.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
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
                "pixels": In(bits_for(config.ofm_words)),
                "words": Out(stream.Signature(unsigned(8 * config.group))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        index_bits = ceil_log2(config.ofm_words)
        word_bits = 8 * config.group

        # Words on their way out: two cycles in the memory, then a queue that covers those.
        depth = 4
        m.submodules.queue = queue = SyncFIFO(width=word_bits, depth=depth)
        reserved = Signal(range(depth + 1))
        m.d.comb += [
            self.words.payload.eq(queue.r_data),
            self.words.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.words.ready),
        ]
        leaves = self.words.valid & self.words.ready

        bank = Signal()
        waiting = Signal(range(3))
        draining = Signal()
        pointer = Signal(bits_for(config.ofm_words))
        read = Signal()
        read_before = Signal()
        clear_index = Signal(index_bits)
        m.d.comb += read.eq(draining & (pointer != self.pixels) & (reserved != depth))
        m.d.sync += [
            reserved.eq(reserved + read - leaves),
            waiting.eq(waiting + self.drain - self.drained),
            read_before.eq(read),
            clear_index.eq(pointer),
        ]
        with m.If(~draining):
            with m.If(waiting != 0):
                m.d.sync += [draining.eq(1), pointer.eq(0)]
        with m.Elif(read):
            m.d.sync += pointer.eq(pointer + 1)
        with m.Elif((pointer == self.pixels) & ~read_before):
            m.d.comb += self.drained.eq(1)
            m.d.sync += [draining.eq(0), bank.eq(~bank)]

        m.d.comb += self.idle.eq(~draining & (waiting == 0) & (reserved == 0))
        with m.If(self.start):
            m.d.sync += bank.eq(0)

        clearing = Signal(init=1)
        clear_pointer = Signal(index_bits)
        m.d.comb += self.ready.eq(~clearing)
        with m.If(clearing):
            m.d.sync += clear_pointer.eq(clear_pointer + 1)
            with m.If(clear_pointer == config.ofm_words - 1):
                m.d.sync += clearing.eq(0)

        leaving = []
        for number in range(2):
            ram = memory.Memory(shape=unsigned(word_bits), depth=config.ofm_words, init=[])
            m.submodules[f"bank{number}"] = ram
            write_port = ram.write_port(granularity=8)
            read_port = ram.read_port()
            m.d.comb += read_port.addr.eq(pointer)
            leaving.append(read_port.data)
            with m.If(clearing):
                m.d.comb += [write_port.addr.eq(clear_pointer), write_port.en.eq(-1)]
            with m.Elif(read_before & (bank == number)):
                m.d.comb += [write_port.addr.eq(clear_index), write_port.en.eq(-1)]
            with m.Else():
                m.d.comb += [
                    write_port.addr.eq(self.write_index),
                    write_port.data.eq(self.value.replicate(config.group)),
                ]
                with m.If(self.write & (self.write_bank == number)):
                    m.d.comb += write_port.en.bit_select(self.write_lane, 1).eq(1)
        m.d.comb += [queue.w_en.eq(read_before), queue.w_data.eq(Mux(bank, leaving[1], leaving[0]))]
        return m
