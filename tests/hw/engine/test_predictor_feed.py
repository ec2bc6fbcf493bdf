"""The predictor feed loses no activation, and stops the array before there is no room for more."""

import random
from typing import Any

from hw.engine.predictor_feed import PredictorFeed
from hw.engine.record_loader import RECORD_SLOTS
from tests.hw.amaranth_testbench import get, pauses, simulate
from tests.hw.small_configs import TINY

PLACES = 16
LATENCY = 9
"""Cycles from a task to its activations, which come one after another."""


def test_activations_arrive_in_order_however_slowly_they_are_taken() -> None:
    rng = random.Random(1)
    dut = PredictorFeed(TINY, places=PLACES)
    activations = [rng.randrange(256) for _ in range(20 * PLACES)]

    async def send(context: Any) -> None:
        context.set(dut.zap, 1)
        issued = 0
        waiting = list(activations)
        due: list[int] = []  # cycles in which the next activations arrive
        cycle = 0
        while waiting:
            issues = (
                issued < len(activations)
                and not context.get(dut.blocked)
                and cycle % TINY.pes == 0
                and rng.random() < 0.9
            )
            context.set(dut.reserved, TINY.pes if issues else 0)
            if issues:
                issued += TINY.pes
                due += [cycle + LATENCY + place for place in range(TINY.pes)]
            arrives = bool(due) and due[0] <= cycle
            context.set(dut.write, arrives)
            if arrives:
                due.pop(0)
                context.set(dut.value, waiting.pop(0))
            await context.tick()
            cycle += 1
        context.set(dut.write, 0)

    async def take(context: Any) -> None:
        assert await get(context, dut.values, len(activations), pauses(2)) == activations

    simulate(dut, send, take)


def test_a_full_queue_blocks_and_a_layer_without_zap_does_not() -> None:
    dut = PredictorFeed(TINY, places=PLACES)

    async def check(context: Any) -> None:
        context.set(dut.reserved, TINY.pes)
        await context.tick().repeat(2 * PLACES)
        assert not context.get(dut.blocked)
        context.set(dut.zap, 1)
        issued = 0
        while not context.get(dut.blocked):
            await context.tick()
            issued += TINY.pes
        assert PLACES - 3 * TINY.pes < issued <= PLACES

    simulate(dut, check)


def test_each_loaded_record_is_offered_once_and_the_next_slot_follows() -> None:
    dut = PredictorFeed(TINY, places=PLACES)

    async def check(context: Any) -> None:
        context.set(dut.running, 1)
        context.set(dut.zap, 1)
        for _ in range(2):
            context.set(dut.start, 1)
            await context.tick()
            context.set(dut.start, 0)
            context.set(dut.records.ready, 0)
            for channel in range(RECORD_SLOTS + 1):
                assert context.get(dut.slot) == channel % RECORD_SLOTS
                assert not context.get(dut.records.valid)
                context.set(dut.record_loaded, 1)
                await context.tick()
                context.set(dut.record_loaded, 0)
                assert context.get(dut.records.valid)
                context.set(dut.records.ready, 1)
                await context.tick()
                context.set(dut.records.ready, 0)

    simulate(dut, check)
