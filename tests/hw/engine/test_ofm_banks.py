"""Ofm banks with pooling hand out golden's pooled map, and are clear afterwards."""

import random
from typing import Any

import numpy as np
import pytest

from hw.engine.ofm_banks import OfmBanks
from tb.random.layers import random_layer
from tb.runs.engine import EngineLayer
from tests.hw.amaranth_testbench import get, pauses, simulate
from tests.hw.small_configs import TINY


async def fill(context: Any, dut: OfmBanks, bank: int, group: np.ndarray) -> None:
    """Store a group's activations (channels, pixels) that are not zero, and let the bank leave."""
    for lane, index in np.argwhere(group):
        context.set(dut.write, 1)
        context.set(dut.write_bank, bank)
        context.set(dut.write_lane, int(lane))
        context.set(dut.write_index, int(index))
        context.set(dut.value, int(group[lane, index]) & 0xFF)
        await context.tick()
    context.set(dut.write, 0)
    context.set(dut.drain, 1)
    await context.tick()
    context.set(dut.drain, 0)


def pooled_layer(rng: random.Random, corner: str) -> EngineLayer:
    """A random layer of that corner that has a pooling."""
    while True:
        layer = random_layer(TINY, rng, corner, corner)
        if layer.pool is not None:
            return layer


@pytest.mark.parametrize("seed", range(12))
def test_a_pooled_map_leaves_as_golden_has_it_layer_after_layer(seed: int) -> None:
    rng = random.Random(seed)
    dut = OfmBanks(TINY)
    layers = [pooled_layer(rng, corner) for corner in ("pooled", "signed", "pooled")]

    async def check(context: Any) -> None:
        await context.tick().until(dut.ready)
        for layer in layers:
            context.set(dut.layer, layer.lowered.fields)
            context.set(dut.start, 1)
            await context.tick()
            context.set(dut.start, 0)
            ofm = layer.expected.ofm[0].flatten(1).numpy()
            words = []
            for number, first in enumerate(range(0, len(ofm), TINY.group)):
                await fill(context, dut, number % 2, ofm[first : first + TINY.group])
                size = int(np.prod(layer.lowered.pooled_size))
                words += await get(context, dut.words, size, pauses(seed))
            await context.tick().until(dut.idle & dut.ready)
            left = np.array([list(word.to_bytes(TINY.group, "little")) for word in words], np.uint8)
            np.testing.assert_array_equal(layer.lowered.unpack_ofm(left), layer.output.numpy())

    simulate(dut, check)
