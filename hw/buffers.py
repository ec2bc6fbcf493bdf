"""On-chip memories that the array reads: ifm buffer and weight ring."""

from functools import reduce
from operator import or_

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.array import READ_LATENCY
from hw.config import Config
from hw.copies import LANES_TOGETHER, copies
from hw.pipeline import delayed

__all__ = ["IfmBuffer", "PartWrite", "WeightBuffer", "WordWrite"]

assert READ_LATENCY == 4, "two registers, a synchronous memory, and a register"

_BANKS = 2


class WordWrite(data.StructLayout):
    """A word on its way into a buffer."""

    def __init__(self, address_bits: int, word_bits: int) -> None:
        super().__init__({"address": address_bits, "word": word_bits})


class PartWrite(data.StructLayout):
    """Bytes of a word on their way into the ifm buffer: those whose bit in `mask` is set."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "address": ceil_log2(config.ifm_words),
                "word": 8 * config.lanes,
                "mask": config.lanes,
            }
        )


class IfmBuffer(wiring.Component):
    """The ifm of a layer, one V-byte word read for each PE every cycle.

    A copy holds two read ports, the first of which shares its address with the write port: what a
    true dual-port block RAM offers. There are two banks, so that words are written while the array
    reads: a word is in that of its address's parity, and whatever distance a kernel's walk steps,
    it changes banks about every other cycle. Reads never wait. A write waits while its bank's port
    is read through; who reads the very word through the other gets either or neither, and must not
    care.

    Members
    -------
    writes : In(stream of PartWrite)
    reading : In(1)
        Words are read in this cycle; else the addresses mean nothing.
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
                "writes": In(stream.Signature(PartWrite(config))),
                "reading": In(1),
                "address": In(address).array(config.pes),
                "word": Out(word).array(config.pes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        # A write waits in a register until its bank's shared port is free; which banks are read
        # from is known a cycle after the addresses.
        held = Signal()
        write = Signal(PartWrite(config), reset_less=True)
        bank = Signal()
        busy = Signal(_BANKS)
        goes = held & ~busy.bit_select(bank, 1)
        taken = self.writes.valid & self.writes.ready
        m.d.comb += self.writes.ready.eq(~held | goes)
        m.d.sync += [
            held.eq(taken | (held & ~goes)),
            busy.eq(
                reduce(or_, [1 << address.xor() for address in self.address[::2]])
                & self.reading.replicate(_BANKS)
            ),
        ]
        with m.If(taken):
            m.d.sync += [
                write.eq(self.writes.payload),
                bank.eq(self.writes.payload.address.xor()),
            ]

        # Registers before the memories and behind them: they are far away, and slow to answer.
        addresses = [delayed(m, address, 1) for address in self.address]
        word, mask = delayed(m, write.word, 1), delayed(m, write.mask, 1)
        shape = unsigned(8 * config.lanes)
        words: list[list] = [[] for _ in self.address]
        for number in range(_BANKS):
            writes = goes & (bank == number)
            written = delayed(m, writes, 1)
            for first in range(0, config.pes, 2):
                ram = memory.Memory(shape=shape, depth=config.ifm_words // _BANKS, init=[])
                m.submodules[f"ram{first // 2}_{number}"] = ram
                shared = delayed(m, Mux(writes, write.address, addresses[first]), 1)
                port = ram.write_port(granularity=8)
                m.d.comb += [
                    port.en.eq(Mux(written, mask, 0)),
                    port.addr.eq(shared[1:]),
                    port.data.eq(word),
                ]
                for place in range(first, min(first + 2, config.pes)):
                    read = ram.read_port()
                    own = shared if place == first else delayed(m, addresses[place], 1)
                    m.d.comb += read.addr.eq(own[1:])
                    words[place].append(read.data)
        for place, (even, odd) in enumerate(words):
            parity = delayed(m, addresses[place].xor(), 1)
            is_odd = copies(m, platform, parity, config.lanes, LANES_TOGETHER)
            word = [
                Mux(is_odd[lane], odd.word_select(lane, 8), even.word_select(lane, 8))
                for lane in range(config.lanes)
            ]
            m.d.comb += self.word[place].eq(delayed(m, Cat(word), 1))
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
            read.addr.eq(delayed(m, self.address, READ_LATENCY - 2)),
            self.word.eq(delayed(m, read.data, 1)),
        ]
        return m
