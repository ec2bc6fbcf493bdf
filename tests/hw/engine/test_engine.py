"""The engine in Amaranth's simulator: resets, counters, and starts at the wrong time.

Layers by the hundred run on the Verilog (`tests/tb/test_sim.py`).
"""

import random
from typing import Any

import numpy as np
import pytest

from hw.contract.counters import ENGINE_COUNTERS
from hw.engine.engine import LayerEngine
from tb.exchange.engine_files import Outcome
from tb.random.layers import random_layer
from tb.runs.engine import Check, EngineLayer, check
from tests.hw.amaranth_testbench import Resettable, get, pauses, put, simulate, to_words
from tests.hw.small_configs import TINY


class Host:
    """Runs layers on an engine, one after another."""

    def __init__(self, seed: int) -> None:
        self.engine = LayerEngine(TINY)
        self.rng = random.Random(seed)

    def layer(self, corner: str) -> EngineLayer:
        """A random layer, long enough to be interrupted and short enough for this simulator."""
        while True:
            layer = random_layer(TINY, self.rng, corner, corner)
            fields = layer.lowered.fields
            words = fields["pixels"] * fields["channels"] * fields["kernel_words"]
            wanted = (corner == "residual") == (layer.residual is not None)
            wanted &= layer.lowered.slices.count == 1
            if wanted and fields["pixels"] >= 10 and words < 3000:
                return layer

    async def idle(self, context: Any) -> None:
        while context.get(self.engine.busy):
            await context.tick()

    async def begin(self, context: Any, layer: EngineLayer) -> None:
        """Fill the ifm buffer and start; the records and the ofm are up to the testbenches."""
        await self.idle(context)
        words = (
            {"address": n, "word": w, "mask": (1 << TINY.lanes) - 1}
            for n, w in enumerate(to_words(layer.stimulus.ifm[0]))
        )
        await put(context, self.engine.ifm, words, iter(lambda: False, None))
        context.set(self.engine.descriptor, layer.lowered.fields)
        context.set(self.engine.start, 1)
        await context.tick()
        context.set(self.engine.start, 0)
        await context.tick()
        assert context.get(self.engine.busy)

    async def finish(self, context: Any, layer: EngineLayer) -> Check:
        """Take the whole ofm, wait until the engine rests, and compare."""
        words = await get(context, self.engine.ofm, layer.stimulus.ofm_words, pauses(1))
        await self.idle(context)
        rows = [list(word.to_bytes(TINY.group, "little")) for word in words]
        outcome = Outcome(np.array(rows, np.uint8), context.get(self.engine.counters).as_bits())
        return check(layer, outcome)


@pytest.mark.parametrize(
    ("corner", "next_corner"),
    [
        ("none skipped", "all skipped"),  # shows what a bank still holds
        ("none skipped", "any"),  # and what the predictor's line buffers hold
        ("residual", "residual"),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_layer_cut_off_by_reset_leaves_no_trace(seed: int, corner: str, next_corner: str) -> None:
    """Whenever reset comes, the next layer runs as after power-up."""
    host = Host(seed)
    design = Resettable(host.engine)
    cut_off, layer = host.layer(corner), host.layer(next_corner)
    was_reset: list[bool] = []

    async def feed(context: Any, port: Any, before: list[int], after: list[int]) -> None:
        words = iter(before)
        # A host that reset the engine begins its stream anew.
        while not was_reset:
            context.set(port.payload, next(words, 0))
            context.set(port.valid, 1)
            transfer = False
            while not was_reset and not transfer:
                _, _, transfer = await context.tick().sample(port.ready)
        context.set(port.valid, 0)
        await put(context, port, after, pauses(seed))

    async def records(context: Any) -> None:
        before, after = to_words(cut_off.stimulus.records), to_words(layer.stimulus.records)
        await feed(context, host.engine.records, before, after)

    async def residuals(context: Any) -> None:
        before, after = to_words(cut_off.stimulus.residuals), to_words(layer.stimulus.residuals)
        await feed(context, host.engine.residuals, before, after)

    async def ofm(context: Any) -> None:
        await host.begin(context, cut_off)
        for _ in range(host.rng.randint(1, 300)):
            context.set(host.engine.ofm.ready, host.rng.random() < 0.3)
            await context.tick()
        context.set(host.engine.ofm.ready, 0)
        context.set(design.reset, 1)
        await context.tick()
        context.set(design.reset, 0)
        was_reset.append(True)
        assert not any(context.get(host.engine.counters[name]) for name in ENGINE_COUNTERS)
        await host.begin(context, layer)
        assert (await host.finish(context, layer)).mismatch is None

    simulate(design, ofm, records, residuals)


def test_a_busy_engine_takes_no_start_and_words_of_the_next_ifm() -> None:
    host = Host(10)
    engine = host.engine
    layer, other = host.layer("any"), host.layer("any")
    assert layer.lowered.fields != other.lowered.fields

    async def records(context: Any) -> None:
        await put(context, engine.records, to_words(layer.stimulus.records), pauses(2))

    async def ofm(context: Any) -> None:
        await host.begin(context, layer)
        context.set(engine.descriptor, other.lowered.fields)
        for start in (1, 0, 1, 1, 0):
            context.set(engine.start, start)
            await context.tick()
        context.set(engine.start, 0)
        assert (await host.finish(context, layer)).mismatch is None
        finished.append(True)

    finished: list[bool] = []

    async def following(context: Any) -> None:
        rng = random.Random(1)
        taken = 0
        await context.tick().until(engine.working)
        while not finished:
            address = rng.randrange(layer.lowered.ifm_words, TINY.ifm_words)
            word = rng.getrandbits(8 * TINY.lanes)
            context.set(engine.ifm.payload, {"address": address, "word": word, "mask": 0xFF})
            context.set(engine.ifm.valid, 1)
            _, _, ready = await context.tick().sample(engine.ifm.ready)
            taken += ready
        assert taken > 20

    simulate(engine, ofm, records, following)


def test_counters_add_up() -> None:
    """`cycles` spans the whole layer, and the array is busy a kernel's words for each group."""
    host = Host(20)
    engine = host.engine
    layer = host.layer("no ZAP")
    fields = layer.lowered.fields

    async def records(context: Any) -> None:
        await put(
            context, engine.records, to_words(layer.stimulus.records), iter(lambda: False, None)
        )

    async def ofm(context: Any) -> None:
        await host.begin(context, layer)
        cycles = 0
        context.set(engine.ofm.ready, 1)
        while context.get(engine.working):
            await context.tick()
            cycles += 1
        await context.tick()  # the last cycle's events are counted in it
        groups = -(-fields["pixels"] // TINY.pes) * fields["channels"]
        assert context.get(engine.counters.busy) == groups * fields["kernel_words"]
        assert context.get(engine.counters.cycles) == cycles
        waits = sum(
            context.get(engine.counters[n]) for n in ENGINE_COUNTERS if n.startswith("wait_")
        )
        assert context.get(engine.counters.busy) + waits <= cycles

    simulate(engine, ofm, records)
