"""A memory queue takes one word more than its memory holds."""

from typing import Any

from hw.lib.queue import memory_queue
from tests.hw.amaranth_testbench import simulate


def test_it_is_full_when_memory_and_output_register_are() -> None:
    queue = memory_queue(width=5, words=8)

    async def check(context: Any) -> None:
        context.set(queue.w_en, 1)
        taken = 0
        while context.get(queue.w_rdy):
            context.set(queue.w_data, taken)
            await context.tick()
            taken += 1
        assert taken == 8 + 1
        context.set(queue.w_en, 0)
        context.set(queue.r_en, 1)
        for word in range(taken):
            assert context.get(queue.r_rdy)
            assert context.get(queue.r_data) == word
            await context.tick()
        assert not context.get(queue.r_rdy)

    simulate(queue, check)
