"""The lookahead loses no activation, and is as fast as its stream; survivors leave in order."""

import random
from dataclasses import replace
from typing import Any

import pytest

from hw.predictor.lookahead import Lookahead
from hw.predictor.survivor_order import SurvivorOrder
from tests.hw.amaranth_testbench import Resettable, get, pauses, put, simulate
from tests.hw.small_configs import TINY


@pytest.mark.parametrize("positions", [1, 2, 4])
def test_activations_are_shown_in_order_and_taken_as_many_as_wanted(positions: int) -> None:
    rng = random.Random(positions)
    dut = Lookahead(replace(TINY, predictor_positions=positions))
    activations = [rng.randrange(256) for _ in range(400)]

    async def send(context: Any) -> None:
        await put(context, dut.i, activations, pauses(1))

    async def take(context: Any) -> None:
        taken = 0
        waits = pauses(2)
        wanted = 0
        while taken < len(activations):
            wanted = min(rng.randint(0, positions), len(activations) - taken)
            context.set(dut.wanted, wanted)
            while True:
                context.set(dut.take, not next(waits))
                _, _, enough, takes, *values = await context.tick().sample(
                    dut.enough, dut.take, *dut.values
                )
                assert enough or wanted
                if enough and takes:
                    break
            assert values[:wanted] == activations[taken : taken + wanted]
            taken += wanted

    simulate(Resettable(dut), send, take)  # with one position it has no register, so no clock


@pytest.mark.parametrize("positions", [2, 4])
def test_steps_that_need_one_activation_on_average_never_wait_for_long(positions: int) -> None:
    """A step with as many activations as fit, then as many steps with none, and so on."""
    dut = Lookahead(replace(TINY, predictor_positions=positions))
    rounds = 50

    async def check(context: Any) -> None:
        context.set(dut.i.valid, 1)
        context.set(dut.take, 1)
        cycles = 0
        for _ in range(rounds):
            for wanted in [positions, *[0] * (positions - 1)]:
                context.set(dut.wanted, wanted)
                enough = False
                while not enough:
                    _, _, enough = await context.tick().sample(dut.enough)
                    cycles += 1
        assert cycles <= rounds * positions + positions

    simulate(dut, check)


@pytest.mark.parametrize("positions", [1, 2, 4])
def test_survivors_of_a_step_leave_in_order_one_a_cycle(positions: int) -> None:
    rng = random.Random(positions)
    dut = SurvivorOrder(replace(TINY, predictor_positions=positions))
    decisions: list[dict[str, Any]] = []
    expected: list[tuple[int, int, int]] = []
    for _ in range(150):
        end = rng.random() < 0.2
        pixels = [
            {"index": rng.randrange(TINY.ofm_words), "base": rng.randrange(TINY.ifm_words)}
            for _ in range(positions)
        ]
        survive = 0 if end else rng.randrange(1, 1 << positions)
        decisions.append({"pixels": pixels, "survive": survive, "end": end})
        chosen = [pixel for place, pixel in enumerate(pixels) if survive >> place & 1]
        expected += [(0, pixel["index"], pixel["base"]) for pixel in chosen]
        expected += [(1, 0, 0)] * end

    async def send(context: Any) -> None:
        await put(context, dut.decisions, decisions, pauses(1))

    async def check(context: Any) -> None:
        received = await get(context, dut.items, len(expected), pauses(2))
        found = [
            (1, 0, 0) if item.end else (0, item.pixel.index, item.pixel.base) for item in received
        ]
        assert found == expected

    simulate(Resettable(dut), send, check)
