"""The requantiser computes `golden.arithmetic.requantise`, one result a cycle."""

import random
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest

from golden import arithmetic
from hw.contract.config import Config
from hw.contract.timing import REQUANTISER_LATENCY
from hw.engine.requantiser import Requantiser
from hw.engine.residual_banks import READ_LATENCY
from hw.layouts.pixels import sum_bits
from tests.hw.amaranth_testbench import simulate
from tests.hw.small_configs import TINY

LARGEST = replace(TINY, lanes=128, weight_words=1 << 16)
"""Its sums are wider than an accumulator, so that they saturate whatever the bias."""

MULTIPLIERS = (0, 1, 1 << 15, (1 << arithmetic.MULTIPLIER_BITS) - 1)
SHIFTS = (1, 2, 7, 8, 9, 16, 25, 26, 27, 40, arithmetic.SHIFT_MAX)


@dataclass(frozen=True)
class Case:
    """One result, its channel's parameters, and the residual that is added to it."""

    sum: int
    bias: int
    multiplier: int
    shift: int
    residual: int = 0
    shortcut_multiplier: int = 0
    shortcut_shift: int = 1

    def activation(self, signed: bool) -> int:
        added = arithmetic.requantise_wide(
            self.residual, self.shortcut_multiplier, self.shortcut_shift
        )
        return arithmetic.requantise(
            self.sum + self.bias + added,
            self.multiplier,
            self.shift,
            arithmetic.activation_range(signed),
        )

    @property
    def record(self) -> dict[str, int]:
        names = ("bias", "multiplier", "shift", "shortcut_multiplier", "shortcut_shift")
        return {name: getattr(self, name) for name in names}


def corners(config: Config) -> list[Case]:
    """Saturation both ways, halves, the least and the largest multiplier; also with a residual."""
    low, high = arithmetic.signed_range(sum_bits(config))
    least, most = arithmetic.signed_range(arithmetic.ACC_BITS)
    alone = product((low, -1, 0, 1, high), (least, -1, 0, 1, 2, most), MULTIPLIERS, SHIFTS)
    residuals = list(product((-128, -1, 0, 1, 127, 255), MULTIPLIERS, SHIFTS))
    # A sum that is not scaled shows a residual's last place; at the limits it saturates.
    added = [
        Case(total, bias, 1 << 15, 15, *residual)
        for total, bias in ((0, 0), (60, 1), (0, least), (0, most))
        for residual in residuals
    ]
    return [*(Case(*case) for case in alone), *added]


def anything(config: Config, rng: random.Random) -> Case:
    """A result whose activation is mostly inside the range of an ofm."""
    total = rng.randrange(*arithmetic.signed_range(rng.randint(8, sum_bits(config))))
    bias = rng.randrange(*arithmetic.signed_range(rng.randint(2, arithmetic.ACC_BITS)))
    multiplier = rng.getrandbits(arithmetic.MULTIPLIER_BITS)
    fitting = max(1, (abs(total + bias) * multiplier).bit_length() - 8)
    return Case(
        total,
        bias,
        multiplier,
        min(fitting + rng.randint(0, 3), arithmetic.SHIFT_MAX),
        rng.randint(-128, 255),
        rng.getrandbits(arithmetic.MULTIPLIER_BITS),
        rng.randint(arithmetic.SHIFT_MIN, 24),
    )


@pytest.mark.parametrize("signed", [False, True], ids=["u8", "s8"])
@pytest.mark.parametrize("config", [TINY, LARGEST], ids=["tiny", "largest"])
def test_activations_equal_golden(config: Config, signed: bool) -> None:
    rng = random.Random(1)
    cases = corners(config) + [anything(config, rng) for _ in range(500)]
    rng.shuffle(cases)
    results: list[dict[str, Any]] = [
        {
            "sum": case.sum,
            "index": rng.randrange(config.ofm_words),
            "tag": {"channel": rng.randrange(2 * config.group), "survivor": rng.getrandbits(1)},
            "last": rng.getrandbits(1),
        }
        for case in cases
    ]
    dut = Requantiser(config)
    entered: list[int] = []
    left: list[int] = []

    async def send(context: Any) -> None:
        context.set(dut.signed_output, signed)
        residuals = [0] * READ_LATENCY
        waiting = list(zip(cases, results))[::-1]
        cycle = 0
        while waiting or any(residuals):
            valid = bool(waiting) and rng.random() < 0.9
            context.set(dut.results.valid, valid)
            residuals.append(waiting[-1][0].residual if valid else 0)
            context.set(dut.residual, residuals.pop(0))
            if valid:
                case, result = waiting.pop()
                context.set(dut.results.payload, result)
                for name, value in case.record.items():
                    context.set(dut.record[name], value)
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
                case, result = cases[len(left)], results[len(left)]
                wanted = case.activation(signed)
                assert got.value == wanted & 0xFF, f"{case}: {got.value}, golden {wanted}"
                assert got.index == result["index"]
                assert got.tag.channel == result["tag"]["channel"]
                assert got.tag.survivor == result["tag"]["survivor"]
                assert got.last == result["last"]
                left.append(cycle)
            cycle += 1

    simulate(dut, send, check)
    assert left == [cycle + REQUANTISER_LATENCY for cycle in entered]
