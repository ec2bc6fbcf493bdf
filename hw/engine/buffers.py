"""On-chip memories that the MAC array reads: the ifm buffer, and the ring of weights."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.hdl import unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.contract.timing import BUFFER_READ_LATENCY
from hw.lib.pipeline import delayed
from hw.lib.register_copies import LANES_PER_COPY, register_copies
from hw.lib.structs import struct_signal

__all__ = ["IfmBuffer", "MaskedWrite", "WeightBuffer", "WordWrite"]

assert BUFFER_READ_LATENCY == 5, "three registers, a synchronous memory, and a register"

_BANKS = 2
"""Banks of the ifm buffer: one for the addresses of each parity of their bits."""


class WordWrite(data.StructLayout):
    """A word for a buffer, and its address."""

    def __init__(self, address_bits: int, word_bits: int) -> None:
        super().__init__({"address": address_bits, "word": word_bits})


class MaskedWrite(data.StructLayout):
    """A word for the ifm buffer, of which the bytes are written whose bit in `mask` is set."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "address": ceil_log2(config.ifm_words),
                "word": 8 * config.lanes,
                "mask": config.lanes,
            }
        )


class IfmBuffer(wiring.Component):
    """The ifm of a layer. Each PE reads a V-byte word of it every cycle.

    Every two PEs have a copy of the ifm with two read ports, one of which shares its address with
    the write port; a true dual-port block RAM offers that.

    A copy has two banks, so that words can be written while the array reads. A word's bank is the
    parity of its address's bits. So the addresses that a kernel visits change banks about every
    other cycle, whatever their distance. Reads never wait. A write waits while its bank's shared
    port is read. A word that is read through the other port in the cycle in which it is written
    comes out undefined.

    Members
    -------
    writes : In(stream of MaskedWrite)
    reading : In(1)
        Words are read in this cycle; else the addresses mean nothing.
    address : In(address).array(P)
    word : Out(8 * V).array(P)
        The word at the address of BUFFER_READ_LATENCY cycles before.
    """

    writes: stream.Interface
    reading: Signal
    address: list[Signal]
    word: list[Signal]

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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        # A write waits in a register until its bank's shared port is free. `busy` tells
        # which banks are read; it is a cycle behind the addresses, and they take one more to the
        # port.
        busy = Signal(_BANKS)
        waits = Signal()
        goes = Signal(_BANKS)
        write = struct_signal(MaskedWrite(config), name="write", reset_less=True)
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

        # There are registers in front of the memories and behind them, because the memories are far
        # away and slow to answer. Each part of a word has its own memory, with its own address
        # registers.
        addresses = [delayed(m, address, 2) for address in self.address]
        word = delayed(m, write.word, 1)
        parts = config.lanes // LANES_PER_COPY
        words: list[list[Value]] = [[] for _ in self.address]
        for number in range(_BANKS):
            mask = delayed(m, Mux(goes[number], write.mask, 0), 1)
            for first in range(0, config.pes, 2):
                shared = Mux(goes[number], write.address, addresses[first])[1:]
                asked = [
                    register_copies(m, platform, address, parts)
                    for address in (shared, *(own[1:] for own in addresses[first + 1 : first + 2]))
                ]
                read: list[list[Value]] = [[] for _ in asked]
                for part in range(parts):
                    ram: memory.Memory = memory.Memory(
                        shape=unsigned(8 * LANES_PER_COPY),
                        depth=config.ifm_words // _BANKS,
                        init=[],
                    )
                    m.submodules[f"ram{first // 2}_{number}_{part}"] = ram
                    write_port = ram.write_port(granularity=8)
                    m.d.comb += [
                        write_port.en.eq(mask.word_select(part, LANES_PER_COPY)),
                        write_port.addr.eq(asked[0][part]),
                        write_port.data.eq(word.word_select(part, 8 * LANES_PER_COPY)),
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
            lanes = [
                Mux(is_odd[lane], odd.word_select(lane, 8), even.word_select(lane, 8))
                for lane in range(config.lanes)
            ]
            m.d.comb += self.word[place].eq(delayed(m, Cat(lanes), 1))
        return m


class WeightBuffer(wiring.Component):
    """A ring of V-byte words, with the weights of the channels in work and of those loaded ahead.

    Members
    -------
    writes : In(stream of WordWrite), always ready
        A word can be read from two cycles later on.
    address : In(address)
    word : Out(8 * V)
        The word at the address of BUFFER_READ_LATENCY cycles before.
    """

    writes: stream.Interface
    address: Signal
    word: Signal

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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        ram: memory.Memory = memory.Memory(
            shape=unsigned(8 * config.lanes), depth=config.weight_words, init=[]
        )
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
