"""Datapath: runs one tile at a time between memory and the layer engine.

    memory -> read port -+-> sequencer (descriptors)
                         +-> records ------------------> engine -> ofm -> write port -> memory
                         +-> residual loader ----------/
                         +-> edge rows ----------------/
                         +-> ifm loader -> ifm buffer -/

Records, residual and edge rows stream in while the array works; the ifm is loaded before, and the
ofm leaves a group of G channels behind the array. Whatever is under way in the memory ends by
itself once `halt` is high; then a reset leaves no trace of the tile.
"""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from hw.axi import Request, read_ports, write_ports
from hw.config import Config
from hw.descriptor import COUNTERS, CounterBlock, LayerDescriptor, PoolDescriptor
from hw.dma import ReadPort, WritePort
from hw.engine import LayerEngine
from hw.ifm_loader import IfmLoader
from hw.program import TileDescriptor
from hw.registers import CORE_COUNTERS, TOTAL_BITS
from hw.residual_loader import ResidualLoader
from hw.resize import Narrow, Widen
from hw.walks import EdgeWalk, OfmWalk, RecordWalk

__all__ = ["Datapath"]

_RECORDS, _RESIDUALS, _EDGES, _IFM = range(4)
"""Clients of the read port: what the array would wait for is served first."""
_PROGRAM = _EDGES
"""The sequencer reads between tiles."""


class Datapath(wiring.Component):
    """Runs tiles.

    Members
    -------
    tile : In(TileDescriptor)
        Stable from `start` to `done`.
    start : In(1)
        Ignored until `done`.
    done : Out(1)
        Every word of the ofm is in memory, nothing is in work; high until the next start.
    requests : In(stream of Request), beats : Out(stream of beats)
        The sequencer's own reads.
    store : In(stream of Request), stored : In(stream of beats)
        The sequencer's own writes, between tiles.
    written : Out(1)
        No write is left to be done.
    counters : Out({name: TOTAL_BITS})
        `CORE_COUNTERS` of the tile in work, or the last one.
    halt : In(1)
        Begin no new burst.
    idle : Out(1)
        No burst is under way.
    read_error, write_error : Out(1)
    m_axi_... : see `hw.axi`
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        beats = stream.Signature(unsigned(config.bus_bits))
        super().__init__(
            {
                "tile": In(TileDescriptor(config)),
                "start": In(1),
                "done": Out(1),
                "requests": In(stream.Signature(Request())),
                "beats": Out(beats),
                "store": In(stream.Signature(Request())),
                "stored": In(beats),
                "written": Out(1),
                "counters": Out(data.StructLayout(dict.fromkeys(CORE_COUNTERS, TOTAL_BITS))),
                "halt": In(1),
                "idle": Out(1),
                "read_error": Out(1),
                "write_error": Out(1),
                **read_ports(config),
                **write_ports(config),
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
        m.submodules.widen = widen = Widen(config.bus_bits, beats_per_word)
        beats_per_pixel = config.group // config.bus_bytes
        m.submodules.widen_edges = widen_edges = Widen(config.bus_bits, beats_per_pixel)
        m.submodules.narrow = narrow = Narrow(config.bus_bits, beats_per_pixel)

        for port, names in ((read, read_ports(config)), (write, write_ports(config))):
            for name, member in names.items():
                inner, outer = getattr(port, name), getattr(self, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
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
        connect(m, widen_edges.o, engine.edges)
        connect(m, ifm.requests, read.requests[_IFM])
        connect(m, read.words[_IFM], ifm.beats)
        connect(m, ifm.writes, engine.ifm)

        # Edge rows and the ofm while a tile is in work, the sequencer's own in between.
        working = ~self.done
        beats = read.words[_PROGRAM]
        m.d.comb += [
            widen_edges.i.payload.eq(beats.payload),
            widen_edges.i.valid.eq(working & beats.valid),
            self.beats.payload.eq(beats.payload),
            self.beats.valid.eq(~working & beats.valid),
            beats.ready.eq(Mux(working, widen_edges.i.ready, self.beats.ready)),
        ]
        connect(m, engine.ofm, narrow.i)
        for mine, theirs, port in (
            (edges.requests, self.requests, read.requests[_EDGES]),
            (ofm.requests, self.store, write.requests),
            (narrow.o, self.stored, write.words),
        ):
            m.d.comb += [
                port.payload.eq(Mux(working, mine.payload, theirs.payload)),
                port.valid.eq(Mux(working, mine.valid, theirs.valid)),
                mine.ready.eq(working & port.ready),
                theirs.ready.eq(~working & port.ready),
            ]

        # A tile: load the ifm, run the engine, see the last word answered.
        layer = engine.descriptor
        for name in LayerDescriptor(config).members:
            if name != "pool":
                m.d.comb += layer[name].eq(self.tile[name])
        for name in PoolDescriptor(config).members:
            m.d.comb += layer.pool[name].eq(self.tile.pool[name])
        begin = Signal()
        m.d.comb += begin.eq(self.start & self.done)
        for part in (ifm, residuals, records, edges, ofm):
            m.d.comb += [part.tile.eq(self.tile), part.start.eq(begin)]
        with m.FSM() as life:
            # Continuous assignments, for Icarus: see `hw.drain`.
            m.d.comb += [
                self.done.eq(life.ongoing("REST")),
                engine.start.eq(life.ongoing("LOAD") & ifm.done & ~engine.busy),
            ]
            with m.State("REST"):
                with m.If(self.start):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.next = "LOAD"
            with m.State("LOAD"):
                with m.If(engine.start):
                    m.next = "STARTED"
            with m.State("STARTED"):
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(~engine.working & write.done):
                    m.next = "REST"

        # Counters: the engine's own, and what lies around it.
        for name in COUNTERS:
            m.d.comb += self.counters[name].eq(engine.counters[name])
        for name, event in (
            ("elapsed", 1),
            ("beats_read", read.beat),
            ("beats_written", write.beat),
        ):
            with m.If(begin):
                m.d.sync += self.counters[name].eq(0)
            with m.Elif(working):
                m.d.sync += self.counters[name].eq(self.counters[name] + event)
        return m


assert CounterBlock().members.keys() == COUNTERS.keys()
