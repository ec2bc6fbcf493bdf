"""Datapath: runs tiles between memory and the layer engine, and loads the next one meanwhile.

    memory -> read port -+-> records ------------------> engine -> ofm -> write port -> memory
                         +-> residual loader ----------/
                         +-> halo rows ----------------/
                         +-> ifm loader -> ifm buffer -/
                         +-> sequencer (descriptors)

Records, residual and halo rows stream in while the array works, and the ofm leaves one group of G
channels behind the array. The ifm is loaded before its tile: while the array works on the tile
before, if the descriptor allows that (`early`), else after that tile. The first records and the
first part of an early tile's residual wait in their queues then.

When `halt` is high, the bursts under way end by themselves. A reset after that leaves no trace of
the tiles.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.contract.config import Config
from hw.contract.counters import COUNTER_BITS, ENGINE_COUNTERS
from hw.core.axi import Axi4Signature, Request
from hw.core.counter_store import CoreCounters
from hw.core.dma import ReadPort, WritePort
from hw.core.ifm_loader import IfmLoader
from hw.core.memory_requests import HaloRequests, OfmRequests, RecordRequests
from hw.core.residual_loader import ResidualLoader
from hw.core.window import Window
from hw.engine.engine import LayerEngine
from hw.layouts.descriptor import LayerDescriptor, PoolDescriptor, TileDescriptor
from hw.lib.fsm import in_state
from hw.lib.pipeline import delayed
from hw.lib.structs import struct_signal
from hw.lib.width_converter import Downsizer, Upsizer

__all__ = ["Datapath"]

_RECORDS, _RESIDUALS, _HALO, _IFM = range(4)
"""Clients of the read port. The one that the array would wait for first has the lowest number."""
_PROGRAM = _IFM
"""The sequencer reads a descriptor after the ifm of the tile before has been loaded."""


class Datapath(wiring.Component):
    """Runs one tile after another.

    Members
    -------
    window : In(Window)
        Constant while a program runs.
    clear : In(1)
        A program begins: start to count.
    tile : In(TileDescriptor)
        Stable from `start` to `done`.
    start : In(1)
        Ignored until `done`.
    done : Out(1)
        No tile is in work, and every word of the ofm is in memory; high until the next start.
    next : In(TileDescriptor)
        The tile to be started next.
    fetched : In(1)
        `next` is valid, and stable up to and including the cycle of its start.
    loaded : Out(1)
        No ifm is being loaded.
    requests : In(stream of Request), beats : Out(stream of beats)
        The sequencer's reads, while `loaded`.
    store : In(stream of Request), stored : In(stream of beats)
        The sequencer's writes, between tiles.
    written : Out(1)
        Every write has been answered.
    counters : Out(CoreCounters)
        Those of the last tile that is done, until the next start.
    halt : In(1)
        No new burst begins.
    idle : Out(1)
        No burst is under way.
    read_error, write_error : Out(1)
        The memory answers with an error in this cycle.
    outside : Out(1)
        The tile in work, or the sequencer, asks for memory outside the window; high until a reset.
        What is asked ahead for the next tile is reported when that tile is in work.
    m_axi : Out(Axi4Signature)
    """

    window: data.View[Window]
    clear: Signal
    tile: data.View[TileDescriptor]
    start: Signal
    done: Signal
    next: data.View[TileDescriptor]
    fetched: Signal
    loaded: Signal
    requests: stream.Interface
    beats: stream.Interface
    store: stream.Interface
    stored: stream.Interface
    written: Signal
    counters: data.View[CoreCounters]
    halt: Signal
    idle: Signal
    read_error: Signal
    write_error: Signal
    outside: Signal
    m_axi: Any

    def __init__(self, config: Config) -> None:
        self._config = config
        beats = stream.Signature(unsigned(config.bus_bits))
        super().__init__(
            {
                "window": In(Window(config)),
                "clear": In(1),
                "tile": In(TileDescriptor(config)),
                "start": In(1),
                "done": Out(1),
                "next": In(TileDescriptor(config)),
                "fetched": In(1),
                "loaded": Out(1),
                "requests": In(stream.Signature(Request())),
                "beats": Out(beats),
                "store": In(stream.Signature(Request())),
                "stored": In(beats),
                "written": Out(1),
                "counters": Out(CoreCounters()),
                "halt": In(1),
                "idle": Out(1),
                "read_error": Out(1),
                "write_error": Out(1),
                "outside": Out(1),
                "m_axi": Out(Axi4Signature(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.read = read = ReadPort(config, 4)
        m.submodules.write = write = WritePort(config)
        m.submodules.engine = engine = LayerEngine(config)
        m.submodules.ifm = ifm = IfmLoader(config)
        m.submodules.residuals = residuals = ResidualLoader(config)
        m.submodules.records = records = RecordRequests(config)
        m.submodules.halo = halo = HaloRequests(config)
        m.submodules.ofm = ofm = OfmRequests(config)
        beats_per_word = config.lanes // config.bus_bytes
        m.submodules.record_words = record_words = Upsizer(config.bus_bits, beats_per_word)
        beats_per_pixel = config.group // config.bus_bytes
        m.submodules.halo_pixels = halo_pixels = Upsizer(config.bus_bits, beats_per_pixel)
        m.submodules.ofm_beats = ofm_beats = Downsizer(config.bus_bits, beats_per_pixel)

        connect(m, read.axi, flipped(self.m_axi.read))
        connect(m, write.axi, flipped(self.m_axi.write))
        m.d.comb += [
            read.window.eq(self.window),
            write.window.eq(self.window),
            read.halt.eq(self.halt),
            write.halt.eq(self.halt),
            self.idle.eq(read.idle & write.idle),
            self.written.eq(write.done),
            self.read_error.eq(read.error),
            self.write_error.eq(write.error),
        ]
        connect(m, records.requests, read.requests[_RECORDS])
        connect(m, read.words[_RECORDS], record_words.i)
        connect(m, record_words.o, engine.records)
        connect(m, residuals.requests, read.requests[_RESIDUALS])
        connect(m, read.words[_RESIDUALS], residuals.beats)
        connect(m, residuals.words, engine.residuals)
        connect(m, halo.requests, read.requests[_HALO])
        connect(m, read.words[_HALO], halo_pixels.i)
        connect(m, halo_pixels.o, engine.halo)
        connect(m, ifm.writes, engine.ifm)
        m.d.comb += [
            engine.slice_loaded.eq(ifm.slice_loaded),
            ifm.slice_retired.eq(engine.slice_retired),
        ]
        connect(m, engine.ofm, ofm_beats.i)

        # The sequencer has a client of the read port while no ifm is being loaded, and the write
        # port while no tile is in work.
        loading, working = ~ifm.done, ~self.done
        program_beats = read.words[_PROGRAM]
        m.d.comb += [
            self.loaded.eq(ifm.done & ~ifm.start),
            ifm.beats.payload.eq(program_beats.payload),
            ifm.beats.valid.eq(loading & program_beats.valid),
            self.beats.payload.eq(program_beats.payload),
            self.beats.valid.eq(~loading & program_beats.valid),
            program_beats.ready.eq(Mux(loading, ifm.beats.ready, self.beats.ready)),
        ]
        _share(m, read.requests[_PROGRAM], loading, ifm.requests, self.requests)
        _share(m, write.requests, working, ofm.requests, self.store)
        _share(m, write.words, working, ofm_beats.o, self.stored)

        begin = Signal()
        m.d.comb += begin.eq(self.start & self.done)
        layer = engine.descriptor
        for name in LayerDescriptor(config).members:
            if name != "pool":
                m.d.comb += layer[name].eq(self.tile[name])
        for name in PoolDescriptor(config).members:
            m.d.comb += layer.pool[name].eq(self.tile.pool[name])
        for requests in (halo, ofm):
            m.d.comb += [requests.tile.eq(self.tile), requests.start.eq(begin)]
        ahead = {
            _IFM: self._load_ahead(m, "ifm", ifm, ifm.done, begin) & loading,
            _RECORDS: self._load_ahead(m, "records", records, ~records.requests.valid, begin),
            _RESIDUALS: self._load_ahead(m, "residuals", residuals, residuals.done, begin),
        }
        outside: list[Value] = [write.outside, read.outside[_HALO]]
        for client, is_ahead in ahead.items():
            # The request that the port works on belongs to the next tile.
            of_next = Signal(name=f"request_{client}_of_next")
            request = read.requests[client]
            taken = request.valid & request.ready
            m.d.sync += of_next.eq(Mux(taken, is_ahead, of_next) & ~begin)
            outside.append(read.outside[client] & ~of_next)
        m.d.comb += self.outside.eq(Cat(outside).any())

        ends = Signal()
        with m.FSM() as tile:
            m.d.comb += [
                self.done.eq(in_state(tile, "REST")),
                engine.start.eq(in_state(tile, "LOADED") & ~engine.busy),
                ends.eq(in_state(tile, "RUN") & ~engine.working & write.done),
            ]
            with m.State("REST"):
                with m.If(self.start):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.next = "LOAD"
            with m.State("LOAD"):
                # The engine waits for each slice itself.
                with m.If(ifm.done | (self.tile.slice_step != 0)):
                    m.next = "LOADED"
            with m.State("LOADED"):
                with m.If(engine.start):
                    m.next = "STARTED"
            with m.State("STARTED"):
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(ends):
                    m.next = "REST"
        for name in ENGINE_COUNTERS:
            m.d.comb += self.counters[name].eq(engine.counters[name])
        events = {"elapsed": Const(1), "beats_read": read.beat, "beats_written": write.beat}
        self._count(m, events, ends)
        return m

    def _load_ahead(
        self,
        m: Module,
        name: str,
        loader: IfmLoader | RecordRequests | ResidualLoader,
        free: Value,
        begin: Value,
    ) -> Value:
        """Start a loader for the tile that begins, or ahead of it where the tile allows that.

        `free` says that the loader has done its work for the tile before. Returns whether the
        loader works ahead.
        """
        early = self.fetched & self.next.early
        # The choice of the tile is a register, because it switches a whole descriptor. So a loader
        # starts a cycle late, and two cycles where it is ahead. When the next tile begins, `next`
        # and `tile` are the same.
        tile = struct_signal(TileDescriptor(self._config), name=f"{name}_tile", reset_less=True)
        ahead = Signal(name=f"{name}_ahead")
        goes_ahead = ahead & ~delayed(m, ahead, 1)
        m.d.comb += [
            loader.tile.eq(tile),
            loader.start.eq(delayed(m, goes_ahead | (begin & ~ahead), 1)),
        ]
        m.d.sync += [
            tile.eq(Mux(ahead, self.next, self.tile)),
            ahead.eq(~begin & (ahead | (early & free))),
        ]
        return ahead

    def _count(self, m: Module, events: dict[str, Value], ends: Value) -> None:
        """Count events from the end of the tile before to the end of a tile, each a cycle late."""
        clears, ended = delayed(m, self.clear | ends, 1), delayed(m, ends, 1)
        for name, event in events.items():
            so_far = Signal(COUNTER_BITS, name=f"{name}_so_far")
            total = so_far + delayed(m, event, 1)
            m.d.sync += so_far.eq(Mux(clears, 0, total))
            with m.If(ended):
                m.d.sync += self.counters[name].eq(total)


def _share(
    m: Module,
    port: stream.Interface,
    first: Value,
    one: stream.Interface,
    other: stream.Interface,
) -> None:
    """Connect a port to one of two streams: to `one` where `first` is high, else to `other`."""
    m.d.comb += [
        port.payload.eq(Mux(first, one.payload, other.payload)),
        port.valid.eq(Mux(first, one.valid, other.valid)),
        one.ready.eq(first & port.ready),
        other.ready.eq(~first & port.ready),
    ]
