"""Counter store: adds the counters of each tile to their totals, and sends them to memory.

It handles half a counter every other cycle, the lower half first, in the order of `CORE_COUNTERS`.
In memory, a tile's counters take `STORED_BYTES`.
"""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.contract.counters import CORE_COUNTERS, COUNTER_BITS, STORED_BYTES, TOTAL_BITS
from hw.lib.width_converter import Upsizer

__all__ = ["CoreCounters", "CounterStore"]

_HALF_BITS = TOTAL_BITS // 2
_HALVES = 8 * STORED_BYTES // _HALF_BITS
"""Halves of a tile's counters, padding included."""


class CoreCounters(data.StructLayout):
    """All counters of a tile."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(CORE_COUNTERS, COUNTER_BITS))


class CounterStore(wiring.Component):
    """Holds the totals of all counters.

    Members
    -------
    clear : In(1)
        Set the totals to 0, until `ended`.
    count : In(1)
        Add the counters to the totals, until `ended`.
    stores : In(1)
        With `count`: send the counters to memory as well.
    ended : Out(1)
        The last half has been handled; for one cycle.
    counters : In(CoreCounters)
        Stable while `count` is high.
    beats : Out(stream of beats)
        The counters on their way to memory.
    waiting : Out(1)
        A complete beat has not left yet.
    counter : In, total : Out(TOTAL_BITS)
        Lookup of a counter's total by its number, in the same cycle.
    """

    clear: Signal
    count: Signal
    stores: Signal
    ended: Signal
    counters: data.View[CoreCounters]
    beats: stream.Interface
    waiting: Signal
    counter: Signal
    total: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "clear": In(1),
                "count": In(1),
                "stores": In(1),
                "ended": Out(1),
                "counters": In(CoreCounters()),
                "beats": Out(stream.Signature(unsigned(config.bus_bits))),
                "waiting": Out(1),
                "counter": In(range(len(CORE_COUNTERS))),
                "total": Out(TOTAL_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        totals: memory.Memory = memory.Memory(
            shape=unsigned(TOTAL_BITS), depth=1 << ceil_log2(len(CORE_COUNTERS)), init=[]
        )
        m.submodules.totals = totals
        shown, before = totals.read_port(domain="comb"), totals.read_port(domain="comb")
        after = totals.write_port()
        m.submodules.pack = pack = Upsizer(_HALF_BITS, self._config.bus_bits // _HALF_BITS)
        connect(m, pack.o, flipped(self.beats))

        half = Signal(range(_HALVES))
        count = Signal(TOTAL_BITS, reset_less=True)
        # A half takes two cycles: `count` is a register behind the choice of the counter.
        settled, moves = Signal(), Signal()
        counters = Value.cast(self.counters)
        m.d.sync += [count.eq(counters.word_select(half[1:], COUNTER_BITS)), settled.eq(~moves)]
        m.d.comb += [
            shown.addr.eq(self.counter),
            self.total.eq(shown.data),
            before.addr.eq(half[1:]),
            after.addr.eq(half[1:]),
            after.data.eq(Mux(self.clear, 0, before.data + count)),
            after.en.eq(moves & half[0]),
            pack.i.valid.eq(self.count & self.stores & settled),
            pack.i.payload.eq(count.word_select(half[0], _HALF_BITS)),
            moves.eq(settled & (self.clear | (self.count & (~self.stores | pack.i.ready)))),
            self.ended.eq(moves & (half == _HALVES - 1)),
            self.waiting.eq(pack.waiting),
        ]
        with m.If(moves):
            m.d.sync += half.eq(Mux(self.ended, 0, half + 1))
        return m
