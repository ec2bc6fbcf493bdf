"""Ofm banks of a strip take rows over from the strip above, and hand rows on to the strip below."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from golden.layers import Pool, pool
from hw.engine.ofm_banks import OfmBanks
from tests.hw.amaranth_testbench import get, pauses, put, simulate, to_words
from tests.hw.small_configs import TINY

WIDTH = 6
PLAIN = Pool(name="", kernel=(1, 1), stride=(1, 1))
MAX = Pool(name="max", kernel=(2, 2), stride=(2, 2))
AVERAGE = Pool(name="average", kernel=(2, 2), stride=(2, 2), average=(1 << 15, 17))


@dataclass(frozen=True)
class Strip:
    """A strip's rows. Of the restored ones every second pixel was computed by the strip above."""

    height: int
    restored: int
    spilled: int
    own: range
    window: Pool
    channels: int

    @property
    def fields(self) -> dict[str, Any]:
        rows, cols = self.window.output_size(len(self.own), WIDTH)
        multiplier, shift = self.window.average or (0, 0)
        return {
            "height": self.height,
            "width": WIDTH,
            "pixels": self.height * WIDTH,
            "first_row": self.restored,
            "restored": self.restored * WIDTH,
            "spilled": self.spilled * WIDTH,
            "channels": self.channels,
            "zap": 1,
            "pool": {
                "pooled": self.window is not PLAIN,
                "average": self.window.average is not None,
                "height": rows,
                "width": cols,
                "kernel_height": self.window.kernel[0],
                "kernel_width": self.window.kernel[1],
                "stride_height": self.window.stride[0],
                "stride_width": self.window.stride[1],
                "top": self.own.start,
                "first_line": self.own.start * WIDTH,
                "line_step": self.window.stride[0] * WIDTH,
                "multiplier": multiplier,
                "shift": shift,
            },
        }

    def draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Each group's activations, (pixels, G); those of channels past the last are zero."""
        groups = -(-self.channels // TINY.group)
        values = rng.integers(0, 256, (groups, self.height * WIDTH, TINY.group))
        values *= rng.random(values.shape) < 0.4
        values[-1, :, self.channels - (groups - 1) * TINY.group :] = 0
        return list(values)

    def above(self, group: np.ndarray) -> np.ndarray:
        """The activations of a group that the strip above has computed, (restored pixels, G)."""
        computed = np.arange(self.restored * WIDTH) % 2 == 0
        return group[: self.restored * WIDTH] * computed[:, None]

    def below(self, group: np.ndarray) -> np.ndarray:
        """The activations in the rows below those, (pixels, G)."""
        return group * (np.arange(len(group)) >= self.restored * WIDTH)[:, None]

    def scored(self, group: np.ndarray) -> np.ndarray:
        """The other activations of the restored rows, (pixels, G): survivors."""
        others = group - self.below(group)
        others[: self.restored * WIDTH] -= self.above(group)
        return others

    def leaving(self, group: np.ndarray) -> list[int]:
        """The words in which a group leaves: the strip's own rows, pooled, and the spilled ones."""
        maps = group.T.reshape(1, TINY.group, self.height, WIDTH)
        own = torch.from_numpy(maps[:, :, self.own.start : self.own.stop])
        pooled = pool(self.window, own)[0].flatten(1).numpy().T
        return to_words(pooled) + to_words(group[len(group) - self.spilled * WIDTH :])


STRIPS = [
    Strip(7, 0, 4, range(5), PLAIN, 9),
    Strip(8, 4, 4, range(2, 6), PLAIN, 9),
    Strip(5, 4, 0, range(2, 5), PLAIN, 3),
    Strip(9, 4, 4, range(3, 7), MAX, 9),
    Strip(8, 3, 4, range(1, 5), AVERAGE, 8),
    Strip(6, 6, 0, range(2, 6), PLAIN, 5),
    Strip(5, 4, 0, range(2, 5), PLAIN, 19),
]


@pytest.mark.parametrize("seed", range(2))
def test_strip_after_strip_takes_over_and_hands_on(seed: int) -> None:
    rng = random.Random(seed)
    dut = OfmBanks(TINY)
    strips = [*STRIPS, *rng.choices(STRIPS, k=3)]
    rng.shuffle(strips)
    draw = np.random.default_rng(seed)
    drawn = [(strip, strip.draw(draw)) for strip in strips]
    counted = {"restored": 0, "recalled": 0, "drained": 0}

    async def count(context: Any) -> None:
        while True:
            _, _, restored, drained = await context.tick().sample(dut.restored, dut.drained)
            counted["restored"] += restored
            counted["drained"] += drained

    async def send(context: Any) -> None:
        for strip, groups in drawn:
            for group in groups:
                await put(context, dut.halo, to_words(strip.above(group)), pauses(seed))

    async def recall(context: Any) -> None:
        for strip, groups in drawn:
            for first, group in zip(range(0, strip.channels, TINY.group), groups, strict=True):
                for lane in range(min(TINY.group, strip.channels - first)):
                    expected = strip.above(group)[:, lane]
                    values = await get(context, dut.recalled, len(expected), pauses(seed + 1))
                    assert values[::2] == expected[::2].tolist(), f"{strip}, {first} + {lane}"
                counted["recalled"] += 1

    async def take(context: Any) -> None:
        for strip, groups in drawn:
            for number, group in enumerate(groups):
                expected = strip.leaving(group)
                words = await get(context, dut.words, len(expected), pauses(seed + 2))
                assert words == expected, f"{strip}, group {number}"

    async def write(context: Any, number: int, group: np.ndarray) -> None:
        """Store the activations of a group that are not zero, in random order."""
        places = list(np.argwhere(group))
        rng.shuffle(places)
        for index, lane in places:
            context.set(dut.write, 1)
            context.set(dut.write_bank, number % 2)
            context.set(dut.write_index, int(index))
            context.set(dut.write_lane, int(lane))
            context.set(dut.value, int(group[index, lane]))
            await context.tick()
        context.set(dut.write, 0)

    async def compute(context: Any) -> None:
        """Act as the engine does: write only to clear banks, and drain only complete ones."""
        await context.tick().until(dut.ready)
        for strip, groups in drawn:
            context.set(dut.layer, strip.fields)
            context.set(dut.start, 1)
            await context.tick()
            context.set(dut.start, 0)
            counted.update(restored=0, recalled=0, drained=0)
            for number, group in enumerate(groups):
                while counted["drained"] < number - 1:
                    await context.tick()
                restored = strip.restored * WIDTH
                await write(context, number, strip.below(group))
                while restored and counted["restored"] <= number:
                    await context.tick()
                await write(context, number, strip.scored(group))
                while restored and counted["recalled"] <= number:
                    await context.tick()
                context.set(dut.drain, 1)
                await context.tick()
                context.set(dut.drain, 0)
            await context.tick().until(dut.idle & dut.ready)

    simulate(dut, compute, send, recall, take, background=[count])
