"""Datapath: runs tiles between memory and the layer engine, and begins to load the next meanwhile.

    memory -> read port -+-> records ------------------> engine -> ofm -> write port -> memory
                         +-> residual loader ----------/
                         +-> edge rows ----------------/
                         +-> ifm loader -> ifm buffer -/
                         +-> sequencer (descriptors)

Records, residual and edge rows stream in while the array works, and the ofm leaves a group of G
channels behind it. The ifm is loaded before: while the array is at the tile before where the
descriptor allows that (`early`), else when that tile is done. Then the first of the records and
the residual wait in their queues as well. Whatever is under way in the memory ends by itself once
`halt` is high; then a reset leaves no trace of the tiles.
"""

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.contract.config import Config
from hw.contract.counters import COUNTER_BITS, ENGINE_COUNTERS
from hw.core.axi import Axi4Signature, Request
from hw.core.counter_store import CoreCounters
from hw.core.dma import ReadPort, WritePort
from hw.core.ifm_loader import IfmLoader
from hw.core.memory_requests import EdgeWalk, OfmWalk, RecordWalk
from hw.core.residual_loader import ResidualLoader
from hw.engine.engine import LayerEngine
from hw.layouts.descriptor import LayerDescriptor, PoolDescriptor, TileDescriptor
from hw.lib.fsm import in_state
from hw.lib.pipeline import delayed
from hw.lib.width_converter import Downsizer, Upsizer

__all__ = ["Datapath"]

_RECORDS, _RESIDUALS, _EDGES, _IFM = range(4)
"""Clients of the read port: what the array would wait for is served first."""
_PROGRAM = _IFM
"""The sequencer reads a descriptor when the ifm of the one before is loaded."""


class Datapath(wiring.Component):
    """Runs tiles.

    Members
    -------
    clear : In(1)
        A program begins: count from here.
    tile : In(TileDescriptor)
        Stable from `start` to `done`.
    start : In(1)
        Ignored until `done`.
    done : Out(1)
        Every word of the ofm is in memory, nothing is in work; high until the next start.
    next : In(TileDescriptor)
        The tile to be started next.
    fetched : In(1)
        `next` is there, and stable, up to and including the cycle of its start.
    loaded : Out(1)
        No ifm is being loaded.
    requests : In(stream of Request), beats : Out(stream of beats)
        The sequencer's own reads, while `loaded`.
    store : In(stream of Request), stored : In(stream of beats)
        The sequencer's own writes, between tiles.
    written : Out(1)
        No write is left to be done.
    counters : Out(CoreCounters)
        `CORE_COUNTERS` of the last tile that was done, until the next start.
    halt : In(1)
        Begin no new burst.
    idle : Out(1)
        No burst is under way.
    read_error, write_error : Out(1)
    m_axi : Out(Axi4Signature)
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        beats = stream.Signature(unsigned(config.bus_bits))
        super().__init__(
            {
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
                "m_axi": Out(Axi4Signature(data_bits=config.bus_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.read = read = ReadPort(config, 4)
        m.submodules.write = write = WritePort(config)
        m.submodules.engine = engine = LayerEngine(config)
        m.submodules.ifm = ifm = IfmLoader(config)
        m.submodules.residuals = residuals = ResidualLoader(config)
        m.submodules.records = records = RecordWalk(config)
        m.submodules.edges = edges = EdgeWalk(config)
        m.submodules.ofm = ofm = OfmWalk(config)
        beats_per_word = config.lanes // config.bus_bytes
        m.submodules.widen = widen = Upsizer(config.bus_bits, beats_per_word)
        beats_per_pixel = config.group // config.bus_bytes
        m.submodules.widen_edges = widen_edges = Upsizer(config.bus_bits, beats_per_pixel)
        m.submodules.narrow = narrow = Downsizer(config.bus_bits, beats_per_pixel)

        connect(m, read.axi, flipped(self.m_axi.read))
        connect(m, write.axi, flipped(self.m_axi.write))
        m.d.comb += [
            read.halt.eq(self.halt),
            write.halt.eq(self.halt),
            self.idle.eq(read.idle & write.idle),
            self.written.eq(write.done),
            self.read_error.eq(read.error),
            self.write_error.eq(write.error),
        ]

        # Loads.
        connect(m, records.requests, read.requests[_RECORDS])
        connect(m, read.words[_RECORDS], widen.i)
        connect(m, widen.o, engine.records)
        connect(m, residuals.requests, read.requests[_RESIDUALS])
        connect(m, read.words[_RESIDUALS], residuals.beats)
        connect(m, residuals.words, engine.residuals)
        connect(m, edges.requests, read.requests[_EDGES])
        connect(m, read.words[_EDGES], widen_edges.i)
        connect(m, widen_edges.o, engine.halo)
        connect(m, ifm.writes, engine.ifm)
        connect(m, engine.ofm, narrow.i)

        # The ifm while it is loaded, and the ofm while a tile is in work; the sequencer's own in
        # between.
        loading, working = ~ifm.done, ~self.done
        beats = read.words[_PROGRAM]
        m.d.comb += [
            self.loaded.eq(ifm.done & ~ifm.start),
            ifm.beats.payload.eq(beats.payload),
            ifm.beats.valid.eq(loading & beats.valid),
            self.beats.payload.eq(beats.payload),
            self.beats.valid.eq(~loading & beats.valid),
            beats.ready.eq(Mux(loading, ifm.beats.ready, self.beats.ready)),
        ]
        for selected, mine, theirs, port in (
            (loading, ifm.requests, self.requests, read.requests[_PROGRAM]),
            (working, ofm.requests, self.store, write.requests),
            (working, narrow.o, self.stored, write.words),
        ):
            m.d.comb += [
                port.payload.eq(Mux(selected, mine.payload, theirs.payload)),
                port.valid.eq(Mux(selected, mine.valid, theirs.valid)),
                mine.ready.eq(selected & port.ready),
                theirs.ready.eq(~selected & port.ready),
            ]

        # A tile: its ifm loaded, if that has not begun before; the engine; the last word answered.
        layer = engine.descriptor
        for name in LayerDescriptor(config).members:
            if name != "pool":
                m.d.comb += layer[name].eq(self.tile[name])
        for name in PoolDescriptor(config).members:
            m.d.comb += layer.pool[name].eq(self.tile.pool[name])
        begin = Signal()
        m.d.comb += begin.eq(self.start & self.done)
        for part in (edges, ofm):
            m.d.comb += [part.tile.eq(self.tile), part.start.eq(begin)]
        early = self.fetched & self.next.early
        for name, part, free in (
            ("ifm", ifm, ifm.done),
            ("records", records, ~records.requests.valid),
            ("residuals", residuals, residuals.done),
        ):
            # Registers, as a whole descriptor hangs on the choice; so a part begins a cycle late,
            # and two cycles where it is ahead. When the next tile begins, both are the same.
            tile = Signal(TileDescriptor(config), reset_less=True, name=f"{name}_tile")
            ahead = Signal(name=f"{name}_ahead")
            goes_ahead = ahead & ~delayed(m, ahead, 1)
            m.d.comb += [
                part.tile.eq(tile),
                part.start.eq(delayed(m, goes_ahead | (begin & ~ahead), 1)),
            ]
            m.d.sync += [
                tile.eq(Mux(ahead, self.next, self.tile)),
                ahead.eq(~begin & (ahead | (early & free))),
            ]
        ends = Signal()
        with m.FSM() as life:
            m.d.comb += [
                self.done.eq(in_state(life, "REST")),
                engine.start.eq(in_state(life, "LOADED") & ~engine.busy),
                ends.eq(in_state(life, "RUN") & ~engine.working & write.done),
            ]
            with m.State("REST"):
                with m.If(self.start):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.next = "LOAD"
            with m.State("LOAD"):
                with m.If(ifm.done):
                    m.next = "LOADED"
            with m.State("LOADED"):
                with m.If(engine.start):
                    m.next = "STARTED"
            with m.State("STARTED"):
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(ends):
                    m.next = "REST"

        # Counters: the engine's own, and what happens from the end of the tile before to its own,
        # each a cycle late.
        clears, ended = delayed(m, self.clear | ends, 1), delayed(m, ends, 1)
        for name in ENGINE_COUNTERS:
            m.d.comb += self.counters[name].eq(engine.counters[name])
        for name, event in (
            ("elapsed", 1),
            ("beats_read", read.beat),
            ("beats_written", write.beat),
        ):
            so_far = Signal(COUNTER_BITS, name=f"{name}_so_far")
            total = so_far + delayed(m, Value.cast(event), 1)
            m.d.sync += so_far.eq(Mux(clears, 0, total))
            with m.If(ended):
                m.d.sync += self.counters[name].eq(total)
        return m
