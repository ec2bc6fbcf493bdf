"""On-chip memories that the array reads: ifm buffer and weight ring."""

from amaranth import Module, Mux
from amaranth.hdl import unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.array import READ_LATENCY
from hw.config import Config

__all__ = ["IfmBuffer", "PartWrite", "WeightBuffer", "WordWrite"]

assert READ_LATENCY == 1, "a synchronous memory"


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
    true dual-port block RAM offers. Words are written while the array rests.

    Members
    -------
    writes : In(stream of PartWrite), always ready
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
                "writes": In(stream.Signature(PartWrite(config), always_ready=True)),
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
            write = ram.write_port(granularity=8)
            write_address = Mux(self.writes.valid, self.writes.payload.address, self.address[first])
            m.d.comb += [
                write.en.eq(Mux(self.writes.valid, self.writes.payload.mask, 0)),
                write.addr.eq(write_address),
                write.data.eq(self.writes.payload.word),
            ]
            for place in range(first, min(first + 2, config.pes)):
                read = ram.read_port()
                shared = place == first
                m.d.comb += read.addr.eq(write_address if shared else self.address[place])
                m.d.comb += self.word[place].eq(read.data)
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
            self.word.eq(read.data),
        ]
        return m
