"""Read port and write port: turn requests for runs of beats into AXI4 bursts.

A read burst is issued only when its client's queue has space for all of it, and a write burst only
when all of its data is there. So neither port ever holds the bus up, and the bursts under way end
by themselves: `halt` stops new bursts, and `idle` says that none is left.

Requests have offsets into the window (`hw.core.window`). A burst that would leave the window is
never issued, and neither is anything after it of the same client.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.bus import BURST, ID_BITS, PAGE_BITS
from hw.contract.config import Config
from hw.contract.timing import READ_QUEUE
from hw.core.axi import Axi4ReadSignature, Axi4WriteSignature, Request
from hw.core.window import Window
from hw.lib.pipeline import delayed
from hw.lib.queue import memory_queue
from hw.lib.structs import struct_signal

__all__ = ["ReadPort", "WritePort"]

_WRITE_QUEUE = 2 * BURST
_RESPONSES = 16
"""Write bursts that may wait for their responses."""


class _Burst(data.StructLayout):
    """A burst: its address on the bus, and its length in beats."""

    def __init__(self, config: Config) -> None:
        super().__init__({"address": unsigned(config.address_bits), "beats": range(BURST + 1)})


class _Splitter(wiring.Component):
    """Cuts requests into bursts at multiples of BURST beats; a request of no beats gives none.

    A burst takes two cycles: its address and length are computed in one and it is offered in the
    next. A request is taken when nothing is left of the one before.

    A window is of whole pages and a burst never leaves its page. So a burst is in the window if the
    page that it begins in is. When one is not, the splitter stops there until it is reset.

    Members
    -------
    window : In(Window)
    requests : In(stream of Request)
    bursts : Out(stream of _Burst)
    outside : Out(1)
        The next burst would leave the window; high until a reset.
    """

    window: data.View[Window]
    requests: stream.Interface
    bursts: stream.Interface
    outside: Signal

    def __init__(self, config: Config) -> None:
        self._beat_bits = ceil_log2(config.bus_bytes)
        super().__init__(
            {
                "window": In(Window(config)),
                "requests": In(stream.Signature(Request())),
                "bursts": Out(stream.Signature(_Burst(config))),
                "outside": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        run = struct_signal(Request(), name="run")
        idle, last = Signal(init=1), Signal()
        block = run.address[self._beat_bits :][: ceil_log2(BURST)]
        to_edge = BURST - block
        within = run.beats <= to_edge
        beats = self.bursts.payload.beats
        page = run.address[PAGE_BITS:]
        inside = page < self.window.pages
        m.d.comb += self.requests.ready.eq(idle)
        m.d.sync += [
            self.bursts.valid.eq(~idle & inside),
            self.outside.eq(~idle & ~inside),
            self.bursts.payload.address.eq(
                Cat(run.address[:PAGE_BITS], (self.window.page + page)[: len(self.window.page)])
            ),
            beats.eq(Mux(within, run.beats, to_edge)),
            last.eq(within),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [run.eq(self.requests.payload), idle.eq(self.requests.payload.beats == 0)]
        with m.If(self.bursts.valid & self.bursts.ready):
            m.d.sync += [
                self.bursts.valid.eq(0),
                idle.eq(last),
                run.address.eq(run.address + (beats << self._beat_bits)),
                run.beats.eq(run.beats - beats),
            ]
        return m


class ReadPort(wiring.Component):
    """Serves several clients by one AXI read port.

    Where several clients ask, the one with the lowest number is served. It cannot keep the others
    waiting for long: a client that does not take its beats gets no more bursts.

    Members
    -------
    window : In(Window)
    requests : In(stream of Request).array(clients)
    words : Out(stream of beats).array(clients)
        The beats of each client's requests, in order.
    halt : In(1)
        No further burst is issued.
    idle : Out(1)
        No burst is under way.
    outside : Out(clients)
        The client's next burst would leave the window; high until a reset.
    error : Out(1)
        A beat arrives with an error response in this cycle.
    beat : Out(1)
        A beat arrives in this cycle.
    axi : Out(Axi4ReadSignature)
    """

    window: data.View[Window]
    requests: list[stream.Interface]
    words: list[stream.Interface]
    halt: Signal
    idle: Signal
    outside: Signal
    error: Signal
    beat: Signal
    axi: Any

    def __init__(self, config: Config, clients: int) -> None:
        assert clients <= 1 << ID_BITS
        self._config = config
        self._clients = clients
        super().__init__(
            {
                "window": In(Window(config)),
                "requests": In(stream.Signature(Request())).array(clients),
                "words": Out(stream.Signature(unsigned(config.bus_bits))).array(clients),
                "halt": In(1),
                "idle": Out(1),
                "outside": Out(clients),
                "error": Out(1),
                "beat": Out(1),
                "axi": Out(Axi4ReadSignature(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        free = ~self.axi.arvalid | self.axi.arready
        asks = Signal(self._clients)
        with m.If(self.axi.arready):
            m.d.sync += self.axi.arvalid.eq(0)
        taken = free & ~self.halt
        for number in range(self._clients):
            m.submodules[f"splitter{number}"] = splitter = _Splitter(config)
            queue = memory_queue(width=config.bus_bits, words=READ_QUEUE)
            m.submodules[f"queue{number}"] = queue
            requests, words, bursts = self.requests[number], self.words[number], splitter.bursts
            reserved = Signal(range(READ_QUEUE + 1), name=f"reserved_{number}")
            leaves = words.valid & words.ready
            mine = taken & asks[number] & (asks[:number] == 0)
            m.d.comb += [
                splitter.window.eq(self.window),
                self.outside[number].eq(splitter.outside),
                splitter.requests.valid.eq(requests.valid),
                splitter.requests.payload.eq(requests.payload),
                requests.ready.eq(splitter.requests.ready),
                bursts.ready.eq(mine),
                words.valid.eq(queue.r_rdy),
                words.payload.eq(queue.r_data),
                queue.r_en.eq(words.ready),
                queue.w_en.eq(self.axi.rvalid & (self.axi.rid == number)),
                queue.w_data.eq(self.axi.rdata),
            ]
            fits = reserved + bursts.payload.beats <= READ_QUEUE
            # A word that leaves is counted a cycle late, because it is known late in its cycle.
            m.d.sync += [
                asks[number].eq(bursts.valid & fits & ~mine),
                reserved.eq(reserved + Mux(mine, bursts.payload.beats, 0) - delayed(m, leaves, 1)),
            ]
            with m.If(mine):
                m.d.sync += [
                    self.axi.arvalid.eq(1),
                    self.axi.arid.eq(number),
                    self.axi.araddr.eq(bursts.payload.address),
                    self.axi.arlen.eq(bursts.payload.beats - 1),
                ]
        under_way = Signal(range(self._clients * READ_QUEUE + 1))
        issued = self.axi.arvalid & self.axi.arready
        ended = self.axi.rvalid & self.axi.rlast
        m.d.sync += under_way.eq(under_way + issued - ended)
        m.d.comb += [
            self.axi.rready.eq(1),
            self.idle.eq(~self.axi.arvalid & (under_way == 0)),
            self.error.eq(self.axi.rvalid & self.axi.rresp[1]),
            self.beat.eq(self.axi.rvalid),
        ]
        return m


class WritePort(wiring.Component):
    """Writes runs of beats by one AXI write port.

    Members
    -------
    window : In(Window)
    requests : In(stream of Request)
    words : In(stream of beats)
        The beats of the requests, in order.
    halt : In(1)
        No further burst is begun.
    idle : Out(1)
        No burst is under way, and every response has arrived.
    done : Out(1)
        Idle, and every request is written.
    outside : Out(1)
        The next burst would leave the window; high until a reset.
    error : Out(1)
        A burst is answered with an error response in this cycle.
    beat : Out(1)
        A beat leaves in this cycle.
    axi : Out(Axi4WriteSignature)
    """

    window: data.View[Window]
    requests: stream.Interface
    words: stream.Interface
    halt: Signal
    idle: Signal
    done: Signal
    outside: Signal
    error: Signal
    beat: Signal
    axi: Any

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "window": In(Window(config)),
                "requests": In(stream.Signature(Request())),
                "words": In(stream.Signature(unsigned(config.bus_bits))),
                "halt": In(1),
                "idle": Out(1),
                "done": Out(1),
                "outside": Out(1),
                "error": Out(1),
                "beat": Out(1),
                "axi": Out(Axi4WriteSignature(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.splitter = splitter = _Splitter(config)
        m.submodules.queue = queue = SyncFIFOBuffered(width=config.bus_bits, depth=_WRITE_QUEUE)
        burst = splitter.bursts
        left = Signal(range(BURST + 1))
        responses = Signal(range(_RESPONSES + 1))
        complete = Signal()
        level: Value = queue.level  # type: ignore[attr-defined]  # missing in the stubs
        begins = Signal()
        leaves = self.axi.wvalid & self.axi.wready
        answered = self.axi.bvalid & self.axi.bready
        m.d.comb += [
            splitter.window.eq(self.window),
            self.outside.eq(splitter.outside),
            splitter.requests.valid.eq(self.requests.valid),
            splitter.requests.payload.eq(self.requests.payload),
            self.requests.ready.eq(splitter.requests.ready),
            queue.w_en.eq(self.words.valid),
            queue.w_data.eq(self.words.payload),
            self.words.ready.eq(queue.w_rdy),
            begins.eq(
                complete
                & (~self.axi.awvalid | self.axi.awready)
                & (responses != _RESPONSES)
                & ~self.halt
            ),
            burst.ready.eq(begins),
            self.axi.wvalid.eq((left != 0) & queue.r_rdy),
            self.axi.wdata.eq(queue.r_data),
            self.axi.wstrb.eq(-1),
            self.axi.wlast.eq(left == 1),
            queue.r_en.eq(leaves),
            self.axi.bready.eq(1),
            self.error.eq(answered & self.axi.bresp[1]),
            self.beat.eq(leaves),
            self.idle.eq(~self.axi.awvalid & (left == 0) & (responses == 0)),
            self.done.eq(self.idle & splitter.requests.ready & ~self.requests.valid),
        ]
        m.d.sync += [
            complete.eq(burst.valid & (level >= burst.payload.beats) & (left == 0) & ~begins),
            left.eq(Mux(begins, burst.payload.beats, left - leaves)),
            responses.eq(responses + begins - answered),
        ]
        with m.If(self.axi.awready):
            m.d.sync += self.axi.awvalid.eq(0)
        with m.If(begins):
            m.d.sync += [
                self.axi.awvalid.eq(1),
                self.axi.awaddr.eq(burst.payload.address),
                self.axi.awlen.eq(burst.payload.beats - 1),
            ]
        return m
