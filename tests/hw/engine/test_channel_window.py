"""The channel window retires a channel when nothing of it is left to be done, and not before."""

from typing import Any

import pytest

from hw.engine.channel_window import ChannelWindow
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

KERNEL_WORDS = 3
CHANNELS = TINY.group + 2


class Window:
    """Drives a window: each event is high for one cycle."""

    def __init__(self) -> None:
        self.dut = ChannelWindow(TINY)

    async def start(self, context: Any, *, zap: int = 0, **fields: int) -> None:
        """Begin a layer."""
        layer = {"channels": CHANNELS, "kernel_words": KERNEL_WORDS, **fields}
        for name, value in layer.items():
            context.set(self.dut.layer[name], value)
        context.set(self.dut.zap, zap)
        context.set(self.dut.running, 1)
        await self.pulse(context, "start")

    async def pulse(self, context: Any, event: str) -> None:
        """Make an event happen."""
        context.set(getattr(self.dut, event), 1)
        await context.tick()
        context.set(getattr(self.dut, event), 0)

    async def retires(self, context: Any) -> bool:
        """Say whether a channel retires within a few cycles."""
        retired = False
        for _ in range(3):
            _, _, now = await context.tick().sample(self.dut.retired)
            retired |= bool(now)
        return retired


def test_passes_and_weights_move_on_channel_by_channel() -> None:
    window = Window()
    dut = window.dut

    async def check(context: Any) -> None:
        for _ in range(2):  # the second layer begins anew
            await window.start(context)
            for channel in range(CHANNELS):
                assert context.get(dut.oldest) == context.get(dut.scheduled) == channel
                assert context.get(dut.oldest_weights) == channel * KERNEL_WORDS
                assert not context.get(dut.all_scheduled)
                assert not context.get(dut.all_retired)
                await window.pulse(context, "pattern_ends")
                assert context.get(dut.scheduled) == channel + 1
                assert await window.retires(context)
            assert context.get(dut.all_scheduled)
            assert context.get(dut.all_retired)

    simulate(dut, check)


def test_two_channels_are_in_work_at_most() -> None:
    window = Window()

    async def check(context: Any) -> None:
        await window.start(context, zap=1)
        for full in (0, 0, 1):
            assert context.get(window.dut.full) == full
            if not full:
                await window.pulse(context, "pattern_ends")
        assert not await window.retires(context)
        await window.pulse(context, "survivors_end")
        assert context.get(window.dut.survivors_done)
        assert await window.retires(context)
        assert not context.get(window.dut.survivors_done)
        assert not context.get(window.dut.full)

    simulate(window.dut, check)


@pytest.mark.parametrize("parity", [0, 1])
def test_a_channel_retires_when_its_last_task_is_stored(parity: int) -> None:
    window = Window()

    async def check(context: Any) -> None:
        await window.start(context)
        for _ in range(parity):
            await window.pulse(context, "pattern_ends")
            assert await window.retires(context)
        context.set(window.dut.issued_parity, parity)
        context.set(window.dut.stored_parity, parity)
        for _ in range(2):
            await window.pulse(context, "issued")
        await window.pulse(context, "pattern_ends")
        for _ in range(2):
            assert not await window.retires(context)
            await window.pulse(context, "stored")
        assert await window.retires(context)

    simulate(window.dut, check)


def test_a_channel_waits_for_its_restored_rows() -> None:
    window = Window()

    async def check(context: Any) -> None:
        await window.start(context, restored=4)
        await window.pulse(context, "pattern_ends")
        assert not await window.retires(context)
        await window.pulse(context, "rows_restored")
        assert await window.retires(context)

    simulate(window.dut, check)


def test_the_pattern_waits_for_a_record_and_a_residual() -> None:
    window = Window()
    dut = window.dut

    async def check(context: Any) -> None:
        await window.start(context, residual=1)
        assert context.get(dut.loads_missing)
        await window.pulse(context, "record_loaded")
        assert context.get(dut.loads_missing)
        await window.pulse(context, "residual_loaded")
        assert not context.get(dut.loads_missing)
        await window.pulse(context, "pattern_ends")
        assert context.get(dut.loads_missing)
        await window.pulse(context, "record_loaded")
        assert not context.get(dut.loads_missing)

    simulate(dut, check)


def test_a_group_retires_with_its_last_channel_and_holds_its_bank_until_it_is_drained() -> None:
    window = Window()
    dut = window.dut
    groups: list[int] = []

    async def count(context: Any) -> None:
        while True:
            _, _, retired, oldest = await context.tick().sample(dut.group_retired, dut.oldest)
            if retired:
                groups.append(oldest)

    async def check(context: Any) -> None:
        await window.start(context, channels=3 * TINY.group)
        for channel in range(2 * TINY.group):
            assert not context.get(dut.banks_taken), channel
            await window.pulse(context, "pattern_ends")
            await context.tick().repeat(3)
        assert groups == [TINY.group - 1, 2 * TINY.group - 1]
        assert context.get(dut.banks_taken)
        await window.pulse(context, "bank_drained")
        await context.tick()
        assert not context.get(dut.banks_taken)

    simulate(dut, check, background=[count])


def test_the_pattern_waits_for_each_slice_and_says_when_it_is_done_with_one() -> None:
    """The last slice has fewer channels."""
    window = Window()
    dut = window.dut
    ends = [channel % 4 == 3 or channel == CHANNELS - 1 for channel in range(CHANNELS)]

    async def check(context: Any) -> None:
        for _ in range(2):  # the second layer begins anew
            await window.start(context, slice_channels=4, slice_step=7)
            await context.tick()
            for channel in range(CHANNELS):
                await window.pulse(context, "record_loaded")
                if channel % 4 == 0:
                    assert context.get(dut.loads_missing)
                    await window.pulse(context, "slice_loaded")
                assert not context.get(dut.loads_missing)
                await window.pulse(context, "pattern_ends")
                retired = []
                for _ in range(3):
                    _, _, *now = await context.tick().sample(dut.retired, dut.slice_retired)
                    retired.append(tuple(now))
                assert max(retired) == (1, int(ends[channel]))

    simulate(dut, check)


def test_a_slice_that_is_loaded_before_the_layer_starts_counts() -> None:
    window = Window()
    dut = window.dut

    async def check(context: Any) -> None:
        await window.pulse(context, "slice_loaded")
        await window.start(context, slice_channels=4, slice_step=7)
        await window.pulse(context, "record_loaded")
        await context.tick()
        assert not context.get(dut.loads_missing)

    simulate(dut, check)


def test_an_ifm_that_is_one_slice_is_not_waited_for() -> None:
    window = Window()
    dut = window.dut

    async def check(context: Any) -> None:
        await window.start(context, slice_channels=CHANNELS, slice_step=0)
        await window.pulse(context, "record_loaded")
        await context.tick()
        assert not context.get(dut.loads_missing)
        await window.pulse(context, "pattern_ends")
        for _ in range(3):
            _, _, slice_retired = await context.tick().sample(dut.slice_retired)
            assert not slice_retired

    simulate(dut, check)


def test_survivors_of_a_slice_that_is_not_there_are_held_up() -> None:
    """In a strip whose I_s is restored they may be known before the slice is loaded."""
    window = Window()
    dut = window.dut

    async def check(context: Any) -> None:
        await window.start(context, zap=1, slice_channels=1, slice_step=7)
        for _ in range(3):
            await context.tick().repeat(2)
            assert context.get(dut.slice_missing)
            await window.pulse(context, "slice_loaded")
            await context.tick()
            assert not context.get(dut.slice_missing)
            await window.pulse(context, "pattern_ends")  # also the end of the slice
            await context.tick().repeat(2)
            assert not context.get(dut.slice_missing)
            await window.pulse(context, "survivors_end")
            while not context.get(dut.retired):
                await context.tick()
            await context.tick()
            assert context.get(dut.slice_missing)  # at once

    simulate(dut, check)
