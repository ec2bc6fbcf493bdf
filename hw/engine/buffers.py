"""On-chip memories that the array reads: ifm buffer and weight ring."""

from functools import reduce
from operator import or_

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.contract.timing import BUFFER_READ_LATENCY
from hw.lib.pipeline import delayed
from hw.lib.register_copies import LANES_PER_COPY, register_copies

__all__ = ["IfmBuffer", "MaskedWrite", "WeightBuffer", "WordWrite"]

assert BUFFER_READ_LATENCY == 5, "three registers, a synchronous memory, and a register"

_BANKS = 2


class WordWrite(data.StructLayout):
    """A word on its way into a buffer."""

    def __init__(self, address_bits: int, word_bits: int) -> None:
        super().__init__({"address": address_bits, "word": word_bits})


class MaskedWrite(data.StructLayout):
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
    writes : In(stream of MaskedWrite)
    reading : In(1)
        Words are read in this cycle; else the addresses mean nothing.
    address : In(address).array(P)
    word : Out(8 * V).array(P)
        BUFFER_READ_LATENCY cycles after its address.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        address = ceil_log2(config.ifm_words)
        word = 8 * config.lanes
        super().__init__(
            {
                "writes": In(stream.Signature(MaskedWrite(config))),
                "reading": In(1),
                "address": In(address).array(config.pes),
                "word": Out(word).array(config.pes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        # A write waits in a register until its bank's shared port is free; which banks are read
        # from is known a cycle after the addresses, and a cycle before it matters.
        busy = Signal(_BANKS)
        waits = Signal()
        goes = Signal(_BANKS)
        write = Signal(MaskedWrite(config), reset_less=True)
        bank = Signal()
        following = Mux(waits, bank, self.writes.payload.address.xor())
        held = waits | self.writes.valid
        taken_port = busy.bit_select(following, 1)
        m.d.comb += self.writes.ready.eq(~waits)
        m.d.sync += [
            busy.eq(
                reduce(or_, [1 << address.xor() for address in self.address[::2]])
                & self.reading.replicate(_BANKS)
            ),
            waits.eq(held & taken_port),
            goes.eq(Mux(held & ~taken_port, 1 << following, 0)),
            bank.eq(following),
        ]
        with m.If(~waits):
            m.d.sync += write.eq(self.writes.payload)

        # Registers before the memories and behind them: they are far away, and slow to answer. Each
        # part of a word has a memory and addresses of its own.
        addresses = [delayed(m, address, 2) for address in self.address]
        word = delayed(m, write.word, 1)
        parts = config.lanes // LANES_PER_COPY
        words: list[list] = [[] for _ in self.address]
        for number in range(_BANKS):
            mask = delayed(m, Mux(goes[number], write.mask, 0), 1)
            for first in range(0, config.pes, 2):
                shared = Mux(goes[number], write.address, addresses[first])[1:]
                asked = [shared, *(own[1:] for own in addresses[first + 1 : first + 2])]
                asked = [register_copies(m, platform, address, parts) for address in asked]
                read: list[list] = [[] for _ in asked]
                for part in range(parts):
                    ram = memory.Memory(
                        shape=unsigned(8 * LANES_PER_COPY),
                        depth=config.ifm_words // _BANKS,
                        init=[],
                    )
                    m.submodules[f"ram{first // 2}_{number}_{part}"] = ram
                    port = ram.write_port(granularity=8)
                    m.d.comb += [
                        port.en.eq(mask.word_select(part, LANES_PER_COPY)),
                        port.addr.eq(asked[0][part]),
                        port.data.eq(word.word_select(part, 8 * LANES_PER_COPY)),
                    ]
                    for address, data_read in zip(asked, read, strict=True):
                        port = ram.read_port()
                        m.d.comb += port.addr.eq(address[part])
                        data_read.append(port.data)
                for place, data_read in enumerate(read, first):
                    words[place].append(Cat(data_read))
        for place, (even, odd) in enumerate(words):
            parity = delayed(m, addresses[place].xor(), 1)
            is_odd = register_copies(m, platform, parity, config.lanes, LANES_PER_COPY)
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
        A word is there two cycles later.
    address : In(address)
    word : Out(8 * V)
        BUFFER_READ_LATENCY cycles after its address.
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
        m.d.sync += [
            write.en.eq(self.writes.valid),
            write.addr.eq(self.writes.payload.address),
            write.data.eq(self.writes.payload.word),
        ]
        m.d.comb += [
            read.addr.eq(delayed(m, self.address, BUFFER_READ_LATENCY - 2)),
            self.word.eq(delayed(m, read.data, 1)),
        ]
        return m
