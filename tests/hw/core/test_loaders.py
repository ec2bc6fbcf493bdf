"""Ifm and residual loaders: they turn tensors in memory into the words that the engine reads.

The reference is the words that `compiler.layer_lowering` packs for a host that fills the buffers.
"""

import random
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from compiler.memory_layout import Place
from compiler.tile_words import ifm_words, residual_words
from hw.contract.config import Config
from hw.core.ifm_loader import IfmLoader
from hw.core.residual_loader import ResidualLoader
from tb.random.draws import CORNERS
from tb.random.layers import random_layer
from tests.hw.amaranth_testbench import get, pauses, put, simulate, to_words
from tests.hw.small_configs import TINY

WIDE = replace(TINY, name="wide", lanes=64, group=8)


def place(tensor: Tensor, config: Config, address: int = 0) -> Place:
    channels, height, width = tensor.shape
    signed = bool(tensor.min() < 0)
    return Place(address, (channels, height, width), config.group, signed=signed)


def beats_at(data: bytes, requests: list[Any], beat: int) -> list[int]:
    """The words of memory, of `beat` bytes each, that requests ask for."""
    return [
        int.from_bytes(data[at : at + beat], "little")
        for request in requests
        for at in range(request.address, request.address + request.beats * beat, beat)
    ]


@pytest.mark.parametrize(
    ("corner", "config"),
    [*((corner, TINY) for corner in CORNERS), ("any", WIDE), ("signed", WIDE)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_the_buffer_holds_what_the_kernel_walks_over(corner: str, config: Config) -> None:
    """This includes padding, channels past the last one, and patches of pixels."""
    rng = random.Random(f"loaders {corner} {config.name}")
    layer = random_layer(config, rng, corner, corner)
    while layer.lowered.ifm_words > 200:
        layer = random_layer(config, rng, corner, corner)
    tensor = place(layer.ifm, config, address=64)
    memory = bytes(tensor.address) + tensor.pack(layer.ifm.numpy())
    dut = IfmLoader(config)
    buffer = np.zeros((config.ifm_words, config.lanes), np.uint8)

    async def serve(context: Any) -> None:
        while True:
            requests = await get(context, dut.requests, 1, pauses(1))
            await put(context, dut.beats, beats_at(memory, requests, config.bus_bytes), pauses(2))

    async def store(context: Any) -> None:
        while True:
            (write,) = await get(context, dut.writes, 1, pauses(3))
            word = np.frombuffer(write.word.to_bytes(config.lanes, "little"), np.uint8)
            mask = np.array([write.mask >> lane & 1 for lane in range(config.lanes)], bool)
            buffer[write.address, mask] = word[mask]

    async def check(context: Any) -> None:
        (tile,) = layer.lowered.tiles
        words = ifm_words(layer.lowered, tile, tensor)
        slices = {name: tile.fields[name] for name in ("channels", "slice_channels", "slice_step")}
        context.set(dut.tile, words | slices)
        context.set(dut.start, 1)
        await context.tick()
        context.set(dut.start, 0)
        await context.tick()
        await context.tick().until(dut.done)
        packed = layer.lowered.pack_ifm(layer.ifm).reshape(-1, config.lanes)
        np.testing.assert_array_equal(buffer[: len(packed)], packed)
        assert not buffer[len(packed) :].any()

    simulate(dut, check, background=[serve, store])


@pytest.mark.parametrize("seed", range(6))
def test_a_residual_arrives_as_it_is_added(seed: int) -> None:
    """It may be picked from a larger map, or have fewer channels; each arrives twice in a row."""
    rng = random.Random(seed)
    stride = 1 + seed % 2
    while True:
        layer = random_layer(TINY, rng, "residual", "residual")
        shortcut, residual = layer.conv.shortcut, layer.residual
        assert shortcut is not None
        assert residual is not None
        words = layer.lowered.fields["height"], layer.lowered.fields["width"]
        if (
            shortcut.channel_offset % TINY.group == 0
            and shortcut.stride == stride
            and min(words) > 1
            and residual.numel() < 2000
        ):
            break
    tensor = place(residual, TINY)
    memory = tensor.pack(residual.numpy())
    dut = ResidualLoader(TINY)
    fields = layer.lowered.fields

    async def serve(context: Any) -> None:
        while True:
            requests = await get(context, dut.requests, 1, pauses(1))
            await put(context, dut.beats, beats_at(memory, requests, TINY.bus_bytes), pauses(2))

    async def check(context: Any) -> None:
        tile = {
            **{name: fields[name] for name in ("height", "width", "channels", "residual")},
            **residual_words(layer.conv, layer.lowered.tiles[0].strip, tensor),
        }
        context.set(dut.tile, tile)
        expected = to_words(layer.lowered.pack_residual(residual))
        for pause in (pauses(3), repeat(False)):
            context.set(dut.start, 1)
            await context.tick()
            context.set(dut.start, 0)
            assert await get(context, dut.words, len(expected), pause) == expected
            await context.tick().until(dut.done)

    simulate(dut, check, background=[serve])
