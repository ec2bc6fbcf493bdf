"""Event counters: the performance counters of a layer."""

from amaranth import Module, Mux, ShapeLike, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import Config
from hw.contract.counters import ENGINE_COUNTERS
from hw.layouts.descriptor import CounterBlock
from hw.lib.pipeline import delayed

__all__ = ["EventCounters"]


class EventCounters(wiring.Component):
    """Counts the events of `ENGINE_COUNTERS` while a layer runs.

    An event is counted in the cycle after it. The counts stand until the next start.

    Members
    -------
    start : In(1)
        Begin at 0.
    running : In(1)
        A layer is in work: it counts.
    events : In({name: bits})
        How often each event happens in this cycle: once at most, but `computed` up to P times, and
        `kept` and `skipped` once for each position that the predictor goes through.
    counters : Out(CounterBlock)
    """

    start: Signal
    running: Signal
    events: data.View
    counters: data.View

    def __init__(self, config: Config) -> None:
        events: dict[str, ShapeLike] = dict.fromkeys(ENGINE_COUNTERS, 1)
        events["computed"] = range(config.pes + 1)
        events["kept"] = events["skipped"] = range(config.predictor_positions + 1)
        super().__init__(
            {
                "start": In(1),
                "running": In(1),
                "events": In(data.StructLayout(events)),
                "counters": Out(CounterBlock()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ENGINE_COUNTERS:
            counter = self.counters[name]
            event = delayed(m, Mux(self.running, self.events[name], 0), 1)
            m.d.sync += counter.eq(counter + event)
            with m.If(self.start):
                m.d.sync += counter.eq(0)
        return m
