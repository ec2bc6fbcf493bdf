"""Upsizers: put a core's bursts on a memory port that is wider than the core's own.

A burst of narrow beats becomes one of the wide beats that it touches. It stays in its block of
`BURST` narrow beats, so it cannot cross a 4 KiB boundary either.

The read side asks for a burst only when its queue has space for all of it, and the write side only
when all of the data is there. So neither ever holds the port up. Each takes and gives a narrow beat
a cycle.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.bus import BURST, ID_BITS
from hw.contract.system import System
from hw.contract.timing import READ_QUEUE
from hw.core.axi import Axi4ReadSignature, Axi4WriteSignature
from hw.lib.queue import memory_queue

__all__ = ["ReadUpsizer", "WriteUpsizer"]


class _Lanes:
    """The parts of a byte address: within a narrow beat, and within a wide beat."""

    def __init__(self, system: System) -> None:
        self.narrow = ceil_log2(system.config.bus_bytes)
        self.wide = ceil_log2(system.memory_bits // 8)
        self.longest = BURST // system.ratio + 1
        """Most wide beats of a burst."""

    def lane(self, address: Any) -> Any:
        """The number of a narrow beat in its wide beat."""
        return address[self.narrow : self.wide]

    def aligned(self, address: Any) -> Any:
        """The address of the wide beat."""
        return Cat(address[: self.wide] & 0, address[self.wide :])

    def length(self, address: Any, length: Any) -> Any:
        """AxLEN of the wide beats that a burst of AxLEN `length` touches."""
        return (self.lane(address) + length) >> (self.wide - self.narrow)


class ReadUpsizer(wiring.Component):
    """Reads a core's bursts from a wider port, one after another in the order of their requests.

    All of its bursts have ID 0, so that their responses come in that order too.

    Parameters
    ----------
    system : System
        Its port is wider than a core's.

    Members
    -------
    core : In(Axi4ReadSignature)
    port : Out(Axi4ReadSignature)
        Of the system's width.
    """

    core: Any
    port: Any

    def __init__(self, system: System) -> None:
        assert system.ratio > 1
        self._system = system
        super().__init__(
            {
                "core": In(Axi4ReadSignature(system.config)),
                "port": Out(Axi4ReadSignature(system.config, data_bits=system.memory_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, lanes = self._system, _Lanes(self._system)
        core, port = self.core, self.port
        # As many narrow beats as two of the core's queues hold: short bursts use parts of words.
        words = max(2 * READ_QUEUE // system.ratio, 2 * lanes.longest)
        word = data.StructLayout({"data": unsigned(system.memory_bits), "resp": unsigned(2)})
        burst = data.StructLayout(
            {"id": unsigned(ID_BITS), "lane": range(system.ratio), "left": range(BURST)}
        )
        m.submodules.queue = queue = memory_queue(width=word.size, words=words)
        m.submodules.bursts = bursts = memory_queue(width=burst.size, words=words)

        # A request is registered, and leaves when there is space for its words.
        full = Signal()
        address = Signal.like(core.araddr)
        length = Signal(range(BURST))
        request = Signal.like(core.arid)
        free = Signal(range(words + 1), init=words)
        beats = Signal(range(lanes.longest + 1))
        leaves, popped = Signal(), Signal()
        m.d.comb += [
            core.arready.eq(~full),
            beats.eq(lanes.length(address, length) + 1),
            leaves.eq(full & (~port.arvalid | port.arready) & (beats <= free) & bursts.w_rdy),
            bursts.w_en.eq(leaves),
            bursts.w_data.eq(Cat(request, lanes.lane(address), length)),
        ]
        m.d.sync += free.eq(free - Mux(leaves, beats, 0) + popped)
        with m.If(core.arready):
            m.d.sync += [
                full.eq(core.arvalid),
                address.eq(core.araddr),
                length.eq(core.arlen),
                request.eq(core.arid),
            ]
        with m.If(port.arready):
            m.d.sync += port.arvalid.eq(0)
        with m.If(leaves):
            m.d.sync += [
                full.eq(0),
                port.arvalid.eq(1),
                port.araddr.eq(lanes.aligned(address)),
                port.arlen.eq(beats - 1),
            ]

        m.d.comb += [
            port.rready.eq(queue.w_rdy),
            queue.w_en.eq(port.rvalid),
            queue.w_data.eq(Cat(port.rdata, port.rresp)),
        ]
        # The narrow beats of the first word, and how many of its burst are done.
        head, first = word(queue.r_data), burst(bursts.r_data)
        done = Signal(range(BURST))
        lane = (first.lane + done)[: ceil_log2(system.ratio)]
        taken = core.rvalid & core.rready
        m.d.comb += [
            core.rvalid.eq(queue.r_rdy & bursts.r_rdy),
            core.rid.eq(first.id),
            core.rdata.eq(head.data.word_select(lane, system.config.bus_bits)),
            core.rresp.eq(head.resp),
            core.rlast.eq(done == first.left),
            bursts.r_en.eq(taken & core.rlast),
            popped.eq(taken & (core.rlast | lane.all())),
            queue.r_en.eq(popped),
        ]
        with m.If(taken):
            m.d.sync += done.eq(Mux(core.rlast, 0, done + 1))
        return m


class WriteUpsizer(wiring.Component):
    """Writes a core's bursts to a wider port; one is collected while the one before leaves.

    Parameters
    ----------
    system : System
        Its port is wider than a core's.

    Members
    -------
    core : In(Axi4WriteSignature)
    port : Out(Axi4WriteSignature)
        Of the system's width.
    """

    core: Any
    port: Any

    def __init__(self, system: System) -> None:
        assert system.ratio > 1
        self._system = system
        super().__init__(
            {
                "core": In(Axi4WriteSignature(system.config)),
                "port": Out(Axi4WriteSignature(system.config, data_bits=system.memory_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, lanes = self._system, _Lanes(self._system)
        core, port = self.core, self.port
        bits, lane_bytes = system.config.bus_bits, system.config.bus_bytes
        word = data.StructLayout(
            {
                "data": unsigned(system.memory_bits),
                "strobes": unsigned(system.memory_bits // 8),
                "last": unsigned(1),
            }
        )
        burst = data.StructLayout({"address": unsigned(len(core.awaddr)), "length": unsigned(8)})
        m.submodules.queue = queue = SyncFIFOBuffered(width=word.size, depth=2 * lanes.longest)
        m.submodules.bursts = bursts = SyncFIFOBuffered(width=burst.size, depth=3)

        # The burst that is collected, and the word that its beats are put into.
        collects = Signal()
        lane = Signal(range(system.ratio))
        address = Signal.like(core.awaddr)
        length = Signal(range(BURST))
        collected = Signal(system.memory_bits)
        strobes = Signal(system.memory_bits // 8)
        here, marks = Signal.like(collected), Signal.like(strobes)
        taken = core.wvalid & core.wready
        m.d.comb += [
            core.awready.eq(~collects),
            core.wready.eq(collects & queue.w_rdy & bursts.w_rdy),
            here.eq(collected),
            here.word_select(lane, bits).eq(core.wdata),
            marks.eq(strobes),
            marks.word_select(lane, lane_bytes).eq(core.wstrb),
            queue.w_en.eq(taken & (core.wlast | lane.all())),
            queue.w_data.eq(Cat(here, marks, core.wlast)),
            bursts.w_en.eq(taken & core.wlast),
            bursts.w_data.eq(Cat(lanes.aligned(address), lanes.length(address, length))),
        ]
        with m.If(core.awready):
            m.d.sync += [
                collects.eq(core.awvalid),
                address.eq(core.awaddr),
                length.eq(core.awlen),
                lane.eq(lanes.lane(core.awaddr)),
                strobes.eq(0),
            ]
        with m.If(taken):
            m.d.sync += [
                collected.eq(here),
                strobes.eq(Mux(lane.all(), 0, marks)),
                lane.eq(lane + 1),
                collects.eq(~core.wlast),
            ]

        head, first = word(queue.r_data), burst(bursts.r_data)
        m.d.comb += [
            port.awvalid.eq(bursts.r_rdy),
            port.awaddr.eq(first.address),
            port.awlen.eq(first.length),
            bursts.r_en.eq(port.awready),
            port.wvalid.eq(queue.r_rdy),
            port.wdata.eq(head.data),
            port.wstrb.eq(head.strobes),
            port.wlast.eq(head.last),
            queue.r_en.eq(port.wready),
            core.bvalid.eq(port.bvalid),
            core.bid.eq(port.bid),
            core.bresp.eq(port.bresp),
            port.bready.eq(core.bready),
        ]
        return m
