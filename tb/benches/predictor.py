"""Block bench of the ZAP predictor: checks survivors, totals and rate against golden's scores."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cocotb
import numpy as np
import torch
from cocotb.triggers import ClockCycles, RisingEdge

from golden import arithmetic
from golden.layers import Predictor, scores
from hw.contract.timing import PREDICTOR_LATENCY, predictor_steps
from hw.layouts.descriptor import PredictorRecord
from hw.lib.structs import struct_bits
from tb.benches.block_common import (
    END,
    BlockSettings,
    Map,
    collect,
    now,
    require_equal,
    uneven_pauses,
    work_items,
)
from tb.benches.common import start
from tb.benches.streams import StreamSink, StreamSource


@dataclass(frozen=True)
class Channel:
    """One channel: its activations in the region, its part of the ZAP, and the pixels that survive.

    `above` holds the restored rows, where `I_t` is known too; `below` holds the other rows, where
    only `I_s` is known.
    """

    layer: Map
    record: dict[str, Any]
    above: np.ndarray
    below: np.ndarray
    survives: np.ndarray

    @classmethod
    def draw(cls, layer: Map, rng: random.Random) -> Channel:
        """Draw weights, extremes among them, and a threshold near the scores."""
        bias1 = draw_bias(rng)
        most = arithmetic.PREDICTOR_SHIFT_MAX
        shift1 = rng.choice([0, most, rng.randint(0, most), rng.randint(4, 10), rng.randint(4, 10)])
        record: dict[str, Any] = {
            "weight1": draw_weights(rng),
            "offset1": bias1 + arithmetic.half(shift1),
            "shift1": shift1,
            "weight2": draw_weights(rng),
        }
        values = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, layer.whole.shape)
        values = rng.choice([values, values, values * (values > 200), np.full_like(values, 255)])
        partial = values * layer.whole
        predictor = Predictor(
            pattern=layer.pattern,
            weight1=torch.tensor(record["weight1"], dtype=torch.int8).view(1, 3, 3),
            bias1=torch.tensor([bias1], dtype=torch.int32),
            shift1=torch.tensor([shift1], dtype=torch.int32),
            weight2=torch.tensor(record["weight2"], dtype=torch.int8).view(1, 3, 3),
            threshold=torch.zeros(1, dtype=torch.int32),
        )
        scored = scores(predictor, torch.from_numpy(partial)[None, None])[0, 0].numpy()
        scored = layer.region(scored)
        record["threshold"] = draw_threshold(rng, scored[predicted(layer)])
        survives = predicted(layer) & (scored > record["threshold"])
        above = layer.region(values)[: layer.first_row]
        below = layer.region(partial)[layer.first_row :]
        return cls(layer, record, above, below, survives)

    @property
    def payload(self) -> int:
        return struct_bits(PredictorRecord(), self.record)

    @property
    def values(self) -> list[int]:
        """The activations of `I_s` in raster order, as the array would send them."""
        return self.below[self.layer.computed[self.layer.first_row :]].tolist()

    @property
    def items(self) -> list[Any]:
        return [*self.layer.pixels(self.survives), END]


def predicted(layer: Map) -> np.ndarray:
    """Return the positions that get a score, `I_t` of the scored rows: bool (height, width)."""
    rows = np.isin(np.arange(layer.height), layer.scored)
    return ~layer.computed & rows[:, None]


def draw_weights(rng: random.Random) -> list[int]:
    low, high = arithmetic.S8
    extreme = rng.choice([[low], [high], [low, high], [low, 0, high], range(low, high + 1)])
    return [rng.choice(extreme) for _ in range(9)]


def draw_bias(rng: random.Random) -> int:
    low, high = arithmetic.signed_range(arithmetic.BIAS1_BITS)
    return rng.choice([low, high, 0, rng.randint(-30_000, 30_000)])


def draw_threshold(rng: random.Random, scored: np.ndarray) -> int:
    """Draw a threshold: always exceeded, never, or equal to a score, where `>` and `>=` differ."""
    low, high = arithmetic.signed_range(arithmetic.SCORE_BITS)
    at_score = [int(score) for score in scored]
    return rng.choice([low, high, 0] if not at_score else [low, high, *[rng.choice(at_score)] * 8])


class TB:
    """Drives the predictor's four streams and counts its two events."""

    def __init__(self, dut: Any, settings: BlockSettings, *, pauses: bool) -> None:
        def pause(number: int) -> Iterator[bool] | None:
            return uneven_pauses(settings.seed + number) if pauses else None

        dut.start.value = 0
        self.dut = dut
        self.config = settings.config
        self.records = StreamSource(dut, "records", pause=pause(0))
        self.values = StreamSource(dut, "values", pause=pause(1))
        self.survivors = StreamSink(dut, "survivors", pause=pause(2))
        self.recalled = StreamSource(dut, "recalled", pause=pause(3))
        self.kept = 0
        self.skipped = 0

    async def start(self) -> None:
        self.dut.layer.value = 0
        await start(self.dut)
        cocotb.start_soon(self._count())

    async def send(self, layer: Map, channels: list[Channel]) -> None:
        """Send a layer; collect its survivors before you send the next."""
        self.dut.layer.value = layer.descriptor(zap=1)
        await ClockCycles(self.dut.clk, 2)
        self.records.send(channel.payload for channel in channels)
        for channel in channels:
            self.recalled.send(channel.above.flatten().tolist())
            self.values.send(channel.values)

    async def _count(self) -> None:
        edge = RisingEdge(self.dut.clk)
        while True:
            await edge
            self.kept += int(self.dut.kept.value)
            self.skipped += int(self.dut.skipped.value)


@cocotb.test()
async def finds_the_survivors(dut: Any) -> None:
    """It sends every pixel above the threshold, no other, with its address, whatever pauses."""
    settings = BlockSettings.read()
    rng = random.Random(settings.seed)
    tb = TB(dut, settings, pauses=True)
    await tb.start()
    for layer in Map.several(
        settings.config, rng, settings.count, widest=settings.config.row_pixels
    ):
        channels = [Channel.draw(layer, rng) for _ in range(rng.randint(1, 5))]
        tb.kept = tb.skipped = 0
        await tb.send(layer, channels)
        for number, channel in enumerate(channels):
            received = await collect(tb.survivors, len(channel.items))
            items = work_items(settings.config, received)
            require_equal(f"{layer}, channel {number}", items, channel.items)
        await tb.values.drained()
        kept = sum(int(channel.survives.sum()) for channel in channels)
        skipped = len(channels) * int(predicted(layer).sum()) - kept
        assert (tb.kept, tb.skipped) == (kept, skipped), (
            f"{layer}: counted {tb.kept} kept, {tb.skipped} skipped; expected {kept}, {skipped}"
        )


@cocotb.test()
async def keeps_its_rate(dut: Any) -> None:
    """It takes exactly the cycles of the module's docstring from end to end if nothing pauses.

    With several positions a step, the second of a step's activations or survivors takes a cycle
    more, unless it has come before or may wait.
    """
    settings = BlockSettings.read()
    rng = random.Random(settings.seed + 1)
    tb = TB(dut, settings, pauses=False)
    await tb.start()
    for layer in Map.several(
        settings.config, rng, settings.count, widest=settings.config.row_pixels
    ):
        channels = [Channel.draw(layer, rng) for _ in range(3)]
        await tb.send(layer, channels)
        ends = []
        for number, channel in enumerate(channels):
            received = await collect(tb.survivors, len(channel.items))
            items = work_items(settings.config, received)
            require_equal(f"{layer}, channel {number}", items, channel.items)
            ends.append(now())
        await tb.values.drained()
        cycles = [after - before for before, after in pairwise(ends)]
        positions = settings.config.predictor_positions
        least = (layer.scored.stop + 2) * predictor_steps(settings.config, layer.width)
        least += PREDICTOR_LATENCY
        behind = 2 * (positions - 1)  # survivors that an end mark may wait for
        for channel, taken in zip(channels[1:], cycles, strict=True):
            most = least + crowded(channel, positions)
            assert least - behind <= taken <= most + behind, (
                f"{layer}: {taken} cycles a channel, expected {least}..{most}, {behind} at its end"
            )


def crowded(channel: Channel, positions: int) -> int:
    """Return the activations and survivors of a channel that are not the first of their step."""
    layer = channel.layer
    row = np.arange(layer.height)[:, None]
    needed = np.where(row < layer.first_row, True, layer.computed)
    walked = needed[: layer.scored.stop + 2]
    return sum(
        int(np.maximum(steps.sum(axis=2) - 1, 0).sum())
        for steps in (in_steps(walked, 0, positions), in_steps(channel.survives, 2, positions))
    )


def in_steps(flags: np.ndarray, late: int, positions: int) -> np.ndarray:
    """Cut rows of flags, `late` columns after the walk, into steps: (rows, steps, positions)."""
    after = -(late + flags.shape[1]) % positions
    return np.pad(flags, ((0, 0), (late, after))).reshape(len(flags), -1, positions)
