"""The record loader keeps channels on chip until they are retired, and no longer."""

import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from golden import arithmetic
from hw.contract.config import Config
from hw.contract.records import RECORD_BYTES, record_words
from hw.engine.record_loader import RECORD_SLOTS, RecordLoader
from hw.layouts.descriptor import ChannelRecord
from hw.lib.structs import struct_bits, struct_from_bits
from tests.hw.amaranth_testbench import pauses, put, simulate
from tests.hw.small_configs import TINY


class Stream:
    """A layer's channels: each a record and its weights, as numbers."""

    def __init__(self, config: Config, rng: random.Random, channels: int, kernel_words: int):
        self.config = config
        self.kernel_words = kernel_words
        self.weights = [
            [rng.getrandbits(8 * config.lanes) for _ in range(kernel_words)]
            for _ in range(channels)
        ]
        self.records = [rng.getrandbits(ChannelRecord().size) for _ in range(channels)]

    @property
    def words(self) -> list[int]:
        """The record stream: each header zero-extended to whole words, then the weights."""
        headers, width = record_words(self.config), 8 * self.config.lanes
        assert headers * self.config.lanes >= RECORD_BYTES
        return [
            word
            for record, weights in zip(self.records, self.weights)
            for word in [
                *(record >> width * n & (1 << width) - 1 for n in range(headers)),
                *weights,
            ]
        ]


class Model:
    """A weight buffer behind the loader, and the channels that are on chip."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.dut = RecordLoader(config)
        self.buffer: dict[int, int] = {}
        self.loaded = self.retired = 0

    async def start(self, context: Any, stream: Stream) -> None:
        self.buffer.clear()
        self.loaded = self.retired = 0
        context.set(self.dut.layer.channels, len(stream.weights))
        context.set(self.dut.layer.kernel_words, stream.kernel_words)
        context.set(self.dut.start, 1)
        await self.cycle(context)
        context.set(self.dut.start, 0)

    async def cycle(self, context: Any) -> None:
        _, _, write, payload, loaded = await context.tick().sample(
            self.dut.writes.valid, self.dut.writes.payload, self.dut.loaded
        )
        if write:
            self.buffer[payload.address] = payload.word
        self.loaded += loaded

    async def retire(self, context: Any) -> None:
        context.set(self.dut.retired, 1)
        await self.cycle(context)
        context.set(self.dut.retired, 0)
        self.retired += 1

    async def check(self, context: Any, stream: Stream) -> None:
        """Every channel on chip is whole: its weights and, by either lookup, its record."""
        on_chip = range(self.retired, self.loaded)
        for channel in on_chip:
            first = channel * stream.kernel_words
            weights = [
                self.buffer[(first + n) % self.config.weight_words]
                for n in range(stream.kernel_words)
            ]
            assert weights == stream.weights[channel], f"weights of channel {channel}"
        for asked in product(on_chip, repeat=2):
            slots = (self.dut.slot, self.dut.predictor_slot)
            for slot, channel in zip(slots, asked, strict=True):
                context.set(slot, channel % RECORD_SLOTS)
            await self.cycle(context)
            found = context.get(self.dut.record), context.get(self.dut.predictor_record)
            parts = ("requantiser", "predictor")
            for record, part, channel in zip(found, parts, asked, strict=True):
                stored = struct_from_bits(ChannelRecord(), stream.records[channel])
                assert record == stored[part], f"{part} of channel {channel}"


@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
@pytest.mark.parametrize("kernel_words", [1, 3, 100, TINY.weight_words])
def test_channels_stay_until_they_are_retired(lanes: int, kernel_words: int) -> None:
    """Also where the ring's end falls inside a channel's weights, and layer after layer."""
    rng = random.Random(kernel_words)
    config = replace(TINY, lanes=lanes)
    model = Model(config)
    streams = [Stream(config, rng, channels, kernel_words) for channels in (6, 1, 2)]
    retire_pauses = pauses(2)

    async def send(context: Any) -> None:
        words = [word for stream in streams for word in stream.words]
        await put(context, model.dut.words, words, pauses(1))

    async def retire(context: Any) -> None:
        for stream in streams:
            await model.start(context, stream)
            while model.retired < len(stream.weights):
                if model.loaded > model.retired and not next(retire_pauses):
                    await model.check(context, stream)
                    await model.retire(context)
                else:
                    await model.cycle(context)
            for _ in range(3):
                await model.cycle(context)
            assert model.loaded == len(stream.weights)

    simulate(model.dut, send, retire)


@pytest.mark.parametrize(
    ("kernel_words", "fit"),
    [(1, 4), (64, 4), (65, 3), (100, 2), (128, 2), (129, 1), (256, 1)],
)
def test_it_loads_as_many_channels_as_fit_and_no_more(kernel_words: int, fit: int) -> None:
    rng = random.Random(kernel_words)
    model = Model(TINY)
    stream = Stream(TINY, rng, 12, kernel_words)

    async def send(context: Any) -> None:
        await put(context, model.dut.words, stream.words, iter(lambda: False, None))

    async def check(context: Any) -> None:
        await model.start(context, stream)
        for _ in range(5):
            for _ in range(700):
                await model.cycle(context)
            assert model.loaded - model.retired == fit
            await model.check(context, stream)
            await model.retire(context)
        while model.retired < 12:
            await (model.retire if model.loaded > model.retired else model.cycle)(context)

    simulate(model.dut, send, check)


@pytest.mark.parametrize("end", [0, 1], ids=["least", "greatest"])
def test_records_have_room_for_every_field_at_its_limits(end: int) -> None:
    """No field is cut or runs into the next."""
    predictor = {
        "weight1": [arithmetic.S8[end], 0, arithmetic.S8[1 - end]] * 3,
        "offset1": arithmetic.signed_range(arithmetic.BIAS1_BITS)[end]
        + (0, arithmetic.half(arithmetic.PREDICTOR_SHIFT_MAX))[end],
        "shift1": (0, arithmetic.PREDICTOR_SHIFT_MAX)[end],
        "weight2": [arithmetic.S8[1 - end], -1, arithmetic.S8[end]] * 3,
        "threshold": arithmetic.signed_range(arithmetic.SCORE_BITS)[end],
    }
    record = {
        "bias": arithmetic.signed_range(arithmetic.ACC_BITS)[end],
        "multiplier": (0, (1 << arithmetic.MULTIPLIER_BITS) - 1)[end],
        "shift": (arithmetic.SHIFT_MIN, arithmetic.SHIFT_MAX)[end],
        "shortcut_multiplier": ((1 << arithmetic.MULTIPLIER_BITS) - 1, 0)[end],
        "shortcut_shift": (arithmetic.SHIFT_MAX, arithmetic.SHIFT_MIN)[end],
    }
    bits = struct_bits(ChannelRecord(), {"requantiser": record, "predictor": predictor})
    stored = struct_from_bits(ChannelRecord(), bits)
    assert {name: stored.requantiser[name] for name in record} == record
    for name, value in predictor.items():
        field = stored.predictor[name]
        assert (list(field) if isinstance(value, list) else field) == value, name
