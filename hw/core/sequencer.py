"""Sequencer: fetches a program and has the datapath run it, tile after tile.

A program is a header and a list of tile descriptors (`hw.contract.program`). The descriptor of the
next tile is fetched and checked while a tile is in work; a fault in it is reported when its turn
comes. After each tile its counters are added to the totals, and stored in memory if the descriptor
has an address for them.
"""

from __future__ import annotations

from typing import Any

from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.contract.bus import OFFSET_BITS
from hw.contract.config import Config
from hw.contract.counters import CORE_COUNTERS, STORED_BYTES, TOTAL_BITS
from hw.contract.program import DESCRIPTOR_BYTES, HEADER_BYTES
from hw.contract.registers import Fault
from hw.core.axi import Axi4Signature
from hw.core.counter_store import CounterStore
from hw.core.datapath import Datapath
from hw.core.descriptor_reader import DescriptorReader
from hw.core.register_block import FAULT_BITS
from hw.core.window import Window
from hw.layouts.descriptor import TileDescriptor
from hw.lib.fsm import in_state
from hw.lib.pipeline import delayed
from hw.lib.register_copies import register_copies
from hw.lib.structs import struct_signal

__all__ = ["Sequencer"]

_WORDS_PER_COPY = 4
"""Words of a descriptor that one register enables."""


class Sequencer(wiring.Component):
    """Runs one program, then waits for the next start. After a fault it needs a reset.

    Members
    -------
    start : In(1)
        Ignored while a program runs.
    window : In(Window)
        Constant while a program runs.
    program : In(OFFSET_BITS)
        Offset of the program into the window, in whole beats.
    point : In(8)
        Number of the operating point.
    done : Out(1)
        The program has ended and all its writes are answered; for one cycle.
    fault : Out(FAULT_BITS)
        A `Fault` for one cycle; nothing more of the program is run.
    fault_word : Out(8)
        Number of the first word at fault, for faults of the header or of a descriptor; else 0.
    layer : Out(16)
        The layer in work; 0 before the first.
    counter : In, total : Out(TOTAL_BITS)
        Lookup of a counter's total by its number, in the same cycle.
    halt, idle : see `hw.core.datapath`
    m_axi : Out(Axi4Signature)
    """

    start: Signal
    window: data.View[Window]
    program: Signal
    point: Signal
    done: Signal
    fault: Signal
    fault_word: Signal
    layer: Signal
    counter: Signal
    total: Signal
    halt: Signal
    idle: Signal
    m_axi: Any

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "window": In(Window(config)),
                "program": In(OFFSET_BITS),
                "point": In(8),
                "done": Out(1),
                "fault": Out(FAULT_BITS),
                "fault_word": Out(8),
                "layer": Out(16),
                "counter": In(range(len(CORE_COUNTERS))),
                "total": Out(TOTAL_BITS),
                "halt": In(1),
                "idle": Out(1),
                "m_axi": Out(Axi4Signature(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.datapath = datapath = Datapath(config)
        m.submodules.reader = reader = DescriptorReader(config)
        m.submodules.store = store = CounterStore(config)
        connect(m, datapath.m_axi, flipped(self.m_axi))
        connect(m, datapath.beats, reader.beats)
        connect(m, store.beats, datapath.stored)

        tile = struct_signal(TileDescriptor(config), name="tile", reset_less=True)
        begun = Signal()
        tiles_left = Signal.like(reader.header.tiles)
        address = Signal(OFFSET_BITS)
        fetched = self._fetch(m, datapath, reader, address, tiles_left)
        m.d.comb += [
            self.layer.eq(Mux(begun, tile.layer, 0)),
            datapath.window.eq(self.window),
            self.idle.eq(datapath.idle),
            self.total.eq(store.total),
            datapath.halt.eq(self.halt),
            datapath.tile.eq(tile),
            datapath.next.eq(reader.tile),
            datapath.fetched.eq(fetched & ~reader.is_header & ~reader.bad),
            datapath.store.payload.address.eq(tile.counters),
            datapath.store.payload.beats.eq(STORED_BYTES // config.bus_bytes),
            store.stores.eq(tile.counters != 0),
            store.counters.eq(datapath.counters),
            store.counter.eq(self.counter),
        ]
        with m.FSM() as program:
            bad_header, bad_tile = in_state(program, "BAD HEADER"), in_state(program, "BAD TILE")
            m.d.comb += [
                store.clear.eq(in_state(program, "CLEAR")),
                datapath.clear.eq(store.clear),
                reader.is_header.eq(in_state(program, "HEADER")),
                datapath.start.eq(in_state(program, "BEGIN")),
                datapath.store.valid.eq(in_state(program, "STORE") & store.stores),
                store.count.eq(in_state(program, "COUNT")),
                self.done.eq(in_state(program, "END")),
                self.fault.eq(
                    _first_of(
                        (datapath.read_error, Fault.READ),
                        (datapath.write_error, Fault.WRITE),
                        (bad_header, Fault.HEADER),
                        (bad_tile, Fault.DESCRIPTOR),
                        (datapath.outside, Fault.BOUNDS),
                    )
                ),
                self.fault_word.eq(Mux(bad_header | bad_tile, reader.bad_word, 0)),
            ]
            with m.State("REST"):
                with m.If(self.start):
                    m.d.sync += address.eq(self.program + self.point * HEADER_BYTES)
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                with m.If(store.ended):
                    m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(fetched):
                    header = reader.header
                    m.d.sync += [address.eq(header.first), tiles_left.eq(header.tiles)]
                    m.next = "NEXT"
                    with m.If(reader.bad):
                        m.next = "BAD HEADER"
            with m.State("NEXT"):
                with m.If(fetched):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.next = "BEGIN"
                with m.If(reader.bad):
                    m.next = "BAD TILE"
            with m.State("BEGIN"):
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(datapath.done):
                    m.next = "STORE"
            with m.State("STORE"):
                with m.If(datapath.store.ready | ~store.stores):
                    m.next = "COUNT"
            with m.State("COUNT"):
                with m.If(store.ended):
                    m.next = "WRITE"
            with m.State("WRITE"):
                # The last beat of the counters leaves before the next tile's first beat.
                with m.If((tiles_left != 0) & ~store.waiting):
                    m.next = "NEXT"
                with m.If((tiles_left == 0) & datapath.written):
                    m.next = "END"
            with m.State("END"):
                m.next = "REST"
            with m.State("BAD HEADER"):
                m.next = "FAULT"
            with m.State("BAD TILE"):
                m.next = "FAULT"
            with m.State("FAULT"):
                pass

        # The next tile is taken in TAKE. Several registers enable it: a single one for a thousand
        # bits of a descriptor took most of a cycle to reach them.
        takes = in_state(program, "NEXT") & fetched
        words = list(tile.shape().members)
        copies = register_copies(m, platform, takes, len(words), _WORDS_PER_COPY)
        for word, taken in zip(words, copies, strict=True):
            with m.If(taken):
                m.d.sync += tile[word].eq(reader.tile[word])
        with m.If(delayed(m, takes, 1)):
            m.d.sync += [tiles_left.eq(tiles_left - 1), begun.eq(1)]
        return m

    def _fetch(
        self,
        m: Module,
        datapath: Datapath,
        reader: DescriptorReader,
        address: Signal,
        tiles_left: Signal,
    ) -> Value:
        """Fetch the header, or a descriptor as soon as the datapath has loaded the tile before.

        Reads from `address` and advances it. Returns whether one is there; it is there until the
        header is used or the tile starts.
        """
        config = self._config
        fetched = Signal()
        with m.FSM() as fetch:
            m.d.comb += [
                datapath.requests.valid.eq(in_state(fetch, "ASK")),
                datapath.requests.payload.address.eq(address),
                datapath.requests.payload.beats.eq(
                    Mux(reader.is_header, HEADER_BYTES, DESCRIPTOR_BYTES) // config.bus_bytes
                ),
                reader.reading.eq(in_state(fetch, "WORDS")),
                fetched.eq(in_state(fetch, "FETCHED")),
            ]
            with m.State("REST"):
                with m.If(reader.is_header | ((tiles_left != 0) & datapath.loaded)):
                    m.next = "ASK"
            with m.State("ASK"):
                with m.If(datapath.requests.ready):
                    m.d.sync += address.eq(address + DESCRIPTOR_BYTES)
                    m.next = "WORDS"
            with m.State("WORDS"):
                with m.If(reader.ended):
                    m.next = "FETCHED"
            with m.State("FETCHED"):
                with m.If(reader.is_header | datapath.start):
                    m.next = "REST"
        return fetched


def _first_of(*faults: tuple[Value, Fault]) -> Value:
    """The first fault of those whose condition is met, or `Fault.NONE`."""
    chosen: Value = Const(Fault.NONE)
    for condition, fault in reversed(faults):
        chosen = Mux(condition, fault, chosen)
    return chosen
