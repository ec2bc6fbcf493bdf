"""The event counters count what happens while a layer runs, and hold the counts afterwards."""

from typing import Any

from hw.engine.event_counters import EventCounters
from hw.layouts.descriptor import CounterBlock
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY


def test_events_are_counted_only_while_a_layer_runs() -> None:
    dut = EventCounters(TINY)
    names = list(CounterBlock().members)
    events = dict.fromkeys(names, 1) | {"computed": TINY.pes, "skipped": 0}

    async def check(context: Any) -> None:
        context.set(dut.events, events)
        for cycles in (5, 3):  # the second layer begins at 0
            await context.tick().repeat(4)
            context.set(dut.start, 1)
            await context.tick()
            context.set(dut.start, 0)
            assert not any(context.get(dut.counters[name]) for name in names)
            context.set(dut.running, 1)
            await context.tick().repeat(cycles)
            context.set(dut.running, 0)
            await context.tick().repeat(3)
            counted = {name: context.get(dut.counters[name]) for name in names}
            assert counted == {name: count * cycles for name, count in events.items()}

    simulate(dut, check)
