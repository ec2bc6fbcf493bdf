"""Residual banks: a group is read while the next is loaded, and kept until it is freed."""

import random
from typing import Any

import numpy as np
import pytest

from hw.engine.residual_banks import READ_LATENCY, ResidualBanks
from tests.hw.amaranth_testbench import pauses, put, simulate, to_words
from tests.hw.small_configs import TINY


class Layer:
    """A residual in the order of its stream: bytes (groups, pixels, G)."""

    def __init__(self, seed: int, *, channels: int, pixels: int, signed: bool = False) -> None:
        groups = -(-channels // TINY.group)
        self.values = np.random.default_rng(seed).integers(0, 256, (groups, pixels, TINY.group))
        self.fields = {
            "channels": channels,
            "pixels": pixels,
            "residual": 1,
            "residual_signed": int(signed),
        }

    def value(self, group: int, index: int, lane: int) -> int:
        value = int(self.values[group, index, lane])
        return value - 256 if self.fields["residual_signed"] and value > 127 else value

    @property
    def words(self) -> list[int]:
        return [word for group in self.values for word in to_words(group)]


class Banks:
    """Drives `ResidualBanks` as the engine does, and counts the groups that are on chip."""

    def __init__(self, seed: int) -> None:
        self.dut = ResidualBanks(TINY)
        self.rng = random.Random(seed)
        self.held = 0

    async def start(self, context: Any, fields: dict[str, int]) -> None:
        for name, value in fields.items():
            context.set(self.dut.layer[name], value)
        context.set(self.dut.start, 1)
        await self.cycle(context)
        context.set(self.dut.start, 0)
        self.held = 0

    async def cycle(self, context: Any) -> None:
        _, _, loaded = await context.tick().sample(self.dut.loaded)
        self.held += loaded

    async def free(self, context: Any) -> None:
        context.set(self.dut.freed, 1)
        await self.cycle(context)
        context.set(self.dut.freed, 0)
        self.held -= 1

    async def read(self, context: Any, layer: Layer, group: int) -> None:
        """Look up every pixel of a group in random order, one a cycle, and compare."""
        _, pixels, lanes = layer.values.shape
        places = [(index, lane) for index in range(pixels) for lane in range(lanes)]
        self.rng.shuffle(places)
        for step in range(len(places) + READ_LATENCY):
            index, lane = places[min(step, len(places) - 1)]
            context.set(self.dut.bank, group % 2)
            context.set(self.dut.index, index)
            context.set(self.dut.lane, lane)
            if step >= READ_LATENCY:
                asked = places[step - READ_LATENCY]
                value, wanted = context.get(self.dut.value), layer.value(group, *asked)
                assert value == wanted, f"group {group}, (pixel, lane) {asked}"
            await self.cycle(context)


@pytest.mark.parametrize("signed", [False, True], ids=["u8", "s8"])
@pytest.mark.parametrize("pixels", [1, 2, 7, TINY.ofm_words])
def test_every_group_is_read_whole_while_the_next_is_loaded(pixels: int, signed: bool) -> None:
    """Layer after layer, with an odd number of groups and with a last group that is not full."""
    banks = Banks(pixels)
    layers = [
        Layer(seed, channels=channels, pixels=pixels, signed=signed)
        for seed, channels in enumerate((3 * TINY.group, 1, 2 * TINY.group + 1))
    ]

    async def send(context: Any) -> None:
        words = [word for layer in layers for word in layer.words]
        await put(context, banks.dut.words, words, pauses(pixels))

    async def check(context: Any) -> None:
        for layer in layers:
            await banks.start(context, layer.fields)
            for group in range(len(layer.values)):
                while banks.held == 0:
                    await banks.cycle(context)
                await banks.read(context, layer, group)
                await banks.free(context)

    simulate(banks.dut, send, check)


def test_no_more_is_taken_than_two_groups_and_than_the_layer_has() -> None:
    banks = Banks(1)
    layer = Layer(1, channels=2 * TINY.group + 2, pixels=5)

    async def send(context: Any) -> None:
        context.set(banks.dut.words.valid, 1)

    async def check(context: Any) -> None:
        await banks.start(context, layer.fields)
        for held in (2, 2, 1, 0):
            for _ in range(40):
                await banks.cycle(context)
            assert banks.held == held
            assert not context.get(banks.dut.words.ready)
            if held:
                await banks.free(context)

    simulate(banks.dut, send, check)


def test_a_layer_without_a_residual_takes_nothing_and_adds_nothing() -> None:
    banks = Banks(2)
    layer = Layer(2, channels=TINY.group, pixels=6)

    async def check(context: Any) -> None:
        await banks.start(context, layer.fields)
        await put(context, banks.dut.words, layer.words, pauses(1))
        await banks.read(context, layer, 0)
        await banks.free(context)
        await banks.start(context, {**layer.fields, "residual": 0})
        context.set(banks.dut.words.valid, 1)
        for index in range(6):
            context.set(banks.dut.index, index)
            assert not context.get(banks.dut.words.ready)
            await context.tick().repeat(READ_LATENCY)
            assert context.get(banks.dut.value) == 0

    simulate(banks.dut, check)
