"""The task choice takes survivors first, and makes no task of a vector without pixels."""

from typing import Any

from hw.engine.task_choice import TaskChoice
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

SCHEDULED, OLDEST = 6, 5


def offer(context: Any, port: Any, *, index: int, mask: int = 0b11, end: int = 0) -> None:
    """Offer a vector whose first pixel has that index."""
    pixels = [{"index": index + place, "base": 0} for place in range(TINY.pes)]
    context.set(port.payload, {"pixels": pixels, "mask": mask, "end": end})
    context.set(port.valid, 1)


async def settle(context: Any, dut: TaskChoice) -> None:
    """Name the channels, and wait until the registers in front of the choice show them."""
    context.set(dut.scheduled, SCHEDULED)
    context.set(dut.oldest, OLDEST)
    context.set(dut.scheduled_weights, 20)
    context.set(dut.oldest_weights, 10)
    context.set(dut.tasks.ready, 1)
    await context.tick().repeat(2)


def test_survivors_go_before_the_pattern() -> None:
    dut = TaskChoice(TINY)

    async def check(context: Any) -> None:
        await settle(context, dut)
        offer(context, dut.pattern, index=40)
        offer(context, dut.survivors, index=8)
        for survivor, index, weights, channel in ((1, 8, 10, OLDEST), (0, 40, 20, SCHEDULED)):
            assert context.get(dut.issued)
            task = context.get(dut.tasks.payload)
            assert (task.tag.survivor, task.tag.channel) == (survivor, channel)
            assert (task.pixels[0].index, task.weight_base) == (index, weights)
            assert context.get(dut.survivors.ready) == survivor
            assert context.get(dut.pattern.ready) == 1 - survivor
            assert context.get(dut.pattern_pixels) == (0 if survivor else TINY.pes)
            context.set(dut.survivors.valid, 0)

    simulate(dut, check)


def test_survivors_wait_for_their_slice_while_the_pattern_goes_on() -> None:
    dut = TaskChoice(TINY)

    async def check(context: Any) -> None:
        await settle(context, dut)
        offer(context, dut.survivors, index=8)
        context.set(dut.survivors_blocked, 1)
        assert not context.get(dut.tasks.valid)
        assert not context.get(dut.survivors.ready)
        offer(context, dut.pattern, index=40)
        assert context.get(dut.tasks.payload).tag.survivor == 0
        assert context.get(dut.pattern.ready)
        context.set(dut.survivors_blocked, 0)
        assert context.get(dut.tasks.payload).tag.survivor == 1

    simulate(dut, check)


def test_no_survivor_is_taken_after_the_end_of_its_pass() -> None:
    dut = TaskChoice(TINY)

    async def check(context: Any) -> None:
        await settle(context, dut)
        context.set(dut.survivors_done, 1)
        for mask in (0b11, 0):
            offer(context, dut.survivors, index=0, mask=mask, end=1)
            assert not context.get(dut.tasks.valid)
            assert not context.get(dut.survivors.ready)

    simulate(dut, check)


def test_a_vector_without_pixels_ends_its_pass_and_is_no_task() -> None:
    dut = TaskChoice(TINY)

    async def check(context: Any) -> None:
        await settle(context, dut)
        context.set(dut.tasks.ready, 0)
        for port, ends in ((dut.pattern, dut.pattern_ends), (dut.survivors, dut.survivors_end)):
            offer(context, port, index=0, mask=0, end=1)
            assert not context.get(dut.tasks.valid)
            assert context.get(ends)
            assert context.get(port.ready)

    simulate(dut, check)


def test_the_pattern_is_blocked_a_cycle_late_and_after_an_end() -> None:
    dut = TaskChoice(TINY)

    async def check(context: Any) -> None:
        await settle(context, dut)
        offer(context, dut.pattern, index=0)
        context.set(dut.blocked, 1)
        assert context.get(dut.tasks.valid)
        await context.tick()
        assert not context.get(dut.tasks.valid)
        context.set(dut.blocked, 0)
        await context.tick()
        context.set(dut.values_blocked, 1)
        assert not context.get(dut.tasks.valid)
        assert context.get(dut.pattern_waits)
        context.set(dut.values_blocked, 0)
        offer(context, dut.pattern, index=0, end=1)
        assert context.get(dut.pattern_ends)
        await context.tick()
        assert not context.get(dut.tasks.valid)
        await context.tick()
        assert context.get(dut.tasks.valid)

    simulate(dut, check)
