"""The requantiser computes `golden.arithmetic.requantise`, one result a cycle."""

import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from golden import arithmetic
from hw.config import Config
from hw.requantiser import LATENCY, Requantiser
from hw.work import sum_bits
from tests.hardware import TINY, simulate

LARGEST = replace(TINY, lanes=128, weight_words=1 << 16)
"""Its sums are wider than an accumulator, so that they saturate whatever the bias."""


def corners(config: Config) -> list[tuple[int, int, int, int]]:
    """(sum, bias, multiplier, shift): saturation both ways, halves, no multiplier, all of it."""
    low, high = arithmetic.signed_range(sum_bits(config))
    least, most = arithmetic.signed_range(arithmetic.ACC_BITS)
    sums = (low, -1, 0, 1, high)
    biases = (least, -1, 0, 1, 2, most)
    multipliers = (0, 1, 1 << 15, (1 << arithmetic.MULTIPLIER_BITS) - 1)
    shifts = (1, 2, 7, 8, 9, 16, 40, arithmetic.SHIFT_MAX)
    return list(product(sums, biases, multipliers, shifts))


def anything(config: Config, rng: random.Random) -> tuple[int, int, int, int]:
    """A result whose activation is mostly inside the range of an ofm."""
    total = rng.randrange(*arithmetic.signed_range(rng.randint(8, sum_bits(config))))
    bias = rng.randrange(*arithmetic.signed_range(rng.randint(2, arithmetic.ACC_BITS)))
    multiplier = rng.getrandbits(arithmetic.MULTIPLIER_BITS)
    fitting = max(1, (abs(total + bias) * multiplier).bit_length() - 8)
    shift = min(fitting + rng.randint(0, 3), arithmetic.SHIFT_MAX)
    return total, bias, multiplier, shift


@pytest.mark.parametrize("signed", [False, True], ids=["u8", "s8"])
@pytest.mark.parametrize("config", [TINY, LARGEST], ids=["tiny", "largest"])
def test_activations_equal_golden(config: Config, signed: bool) -> None:
    rng = random.Random(1)
    cases = corners(config) + [anything(config, rng) for _ in range(1000)]
    rng.shuffle(cases)
    results: list[dict[str, Any]] = [
        {
            "sum": case[0],
            "index": rng.randrange(config.ofm_words),
            "tag": {"channel": rng.randrange(2 * config.group), "survivor": rng.getrandbits(1)},
            "last": rng.getrandbits(1),
        }
        for case in cases
    ]
    limits = arithmetic.activation_range(signed)
    dut = Requantiser(config)
    entered: list[int] = []
    left: list[int] = []

    async def send(context: Any) -> None:
        context.set(dut.signed_output, signed)
        cycle = 0
        for (_, bias, multiplier, shift), result in zip(cases, results):
            while rng.random() < 0.1:
                await context.tick()
                cycle += 1
            context.set(dut.results.payload, result)
            context.set(dut.record.bias, bias)
            context.set(dut.record.multiplier, multiplier)
            context.set(dut.record.shift, shift)
            context.set(dut.results.valid, 1)
            entered.append(cycle)
            await context.tick()
            cycle += 1
            context.set(dut.results.valid, 0)

    async def check(context: Any) -> None:
        cycle = 0
        while len(left) < len(cases):
            _, _, valid, got = await context.tick().sample(
                dut.activations.valid, dut.activations.payload
            )
            if valid:
                total, bias, multiplier, shift = case = cases[len(left)]
                wanted = arithmetic.requantise(total + bias, multiplier, shift, limits)
                assert got.value == wanted & 0xFF, (case, got.value, wanted)
                result = results[len(left)]
                assert got.index == result["index"]
                assert got.tag.channel == result["tag"]["channel"]
                assert got.tag.survivor == result["tag"]["survivor"]
                assert got.last == result["last"]
                left.append(cycle)
            cycle += 1

    simulate(dut, send, check)
    assert left == [cycle + LATENCY for cycle in entered]
