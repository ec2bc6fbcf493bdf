"""Ifm and residual loaders: they turn tensors in memory into the words that the engine reads.

The reference is the words that `compiler.lowering.layer_lowering` packs for a host that fills the
buffers.
"""

import random
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from compiler.lowering.layer_lowering import lower_layer
from compiler.lowering.tile_words import ifm_words, residual_words
from compiler.memory_layout import Place
from hw.contract.config import Config
from hw.core.ifm_loader import IfmLoader
from hw.core.residual_loader import ResidualLoader
from tb.random.draws import CORNERS, Draw, draw_conv
from tb.random.layers import random_layer
from tests.hw.amaranth_testbench import Testbench, get, pauses, put, simulate, to_words
from tests.hw.small_configs import TINY

WIDE = replace(TINY, name="wide", lanes=64, group=8)
NARROW = replace(TINY, name="narrow", lanes=32)
DEEP = replace(TINY, name="deep", lanes=16, group=16)
"""A pixel of a plane has four beats."""


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


def surroundings(
    dut: IfmLoader,
    config: Config,
    memory: bytes,
    buffer: np.ndarray,
    *,
    between: int = 0,
) -> list[Testbench]:
    """The memory that answers the loader, and the ifm buffer that takes its writes, with pauses.

    The buffer takes no write for some cycles after each.
    """

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
            for _ in range(between):
                await context.tick()

    return [serve, store]


@pytest.mark.parametrize(
    ("corner", "config"),
    [*((corner, TINY) for corner in CORNERS), ("any", WIDE), ("signed", WIDE), ("any", DEEP)],
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
    around = surroundings(dut, config, memory, buffer)

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

    simulate(dut, check, background=around)


def test_a_patch_of_several_rows_takes_each_row_of_each_plane() -> None:
    """A word holds two rows of five channels, which are two planes."""
    draw, rng = Draw(torch.Generator().manual_seed(1)), random.Random(1)
    conv = draw_conv(draw, rng, "rows", (40, 5, 3, 1), padding=(1, 1, 0, 0))
    ifm = draw((0, 255), 5, 4, 3)
    lowered = lower_layer(NARROW, conv, (5, 4, 3), ifm_signed=False)
    assert lowered.patch[0] == 2
    assert not lowered.rows_apart
    (tile,) = lowered.tiles
    tensor = place(ifm, NARROW)
    dut = IfmLoader(NARROW)
    buffer = np.zeros((NARROW.ifm_words, NARROW.lanes), np.uint8)
    around = surroundings(dut, NARROW, tensor.pack(ifm.numpy()), buffer)

    async def check(context: Any) -> None:
        context.set(dut.tile, ifm_words(lowered, tile, tensor))
        context.set(dut.start, 1)
        await context.tick()
        context.set(dut.start, 0)
        await context.tick()
        await context.tick().until(dut.done)
        packed = lowered.pack_ifm(ifm).reshape(-1, NARROW.lanes)
        np.testing.assert_array_equal(buffer[: len(packed)], packed)

    simulate(dut, check, background=around)


@pytest.mark.parametrize(
    ("slots", "stride", "between"), [(1, 1, 3), (1, 2, 0), (3, 1, 0), (3, 2, 0)]
)
def test_slices_are_loaded_one_after_another_as_far_as_there_is_room(
    slots: int, stride: int, between: int
) -> None:
    """With stride 2, patches of two rows begin at every other row alone."""
    rng = random.Random(f"slices {slots} {stride}")
    conv = draw_conv(
        Draw(torch.Generator().manual_seed(1)),
        rng,
        "depthwise",
        (14, 1, 3, 3),
        stride=(stride, stride),
        padding=(1, 1, 1, 1),
        groups=14,
    )
    ifm = torch.randint(0, 256, (14, 4, 5), generator=torch.Generator().manual_seed(slots))
    lowered = lower_layer(NARROW, conv, (14, 4, 5), ifm_signed=False)
    assert lowered.slices.count == 4
    assert lowered.rows_apart == (stride == 2)
    (tile,) = lowered.tiles
    tensor = place(ifm, NARROW)
    memory = tensor.pack(ifm.numpy())
    dut = IfmLoader(NARROW)
    buffer = np.zeros((NARROW.ifm_words, NARROW.lanes), np.uint8)
    around = surroundings(dut, NARROW, memory, buffer, between=between)

    async def check(context: Any) -> None:
        fields = {name: tile.fields[name] for name in ("channels", "slice_channels", "slice_step")}
        words = {**ifm_words(lowered, tile, tensor), **fields, "ifm_slots": slots}
        context.set(dut.tile, words)
        context.set(dut.start, 1)
        await context.tick()
        context.set(dut.start, 0)
        loaded = retired = 0
        while loaded < 4:
            retires = loaded > retired and rng.random() < 0.01
            context.set(dut.slice_retired, retires)
            _, _, is_loaded, done = await context.tick().sample(dut.slice_loaded, dut.done)
            assert not done
            retired += retires
            if is_loaded:
                packed = lowered.pack_ifm(ifm)[loaded]
                first = loaded * fields["slice_step"]
                at = np.arange(first, first + len(packed)) % NARROW.ifm_words
                np.testing.assert_array_equal(buffer[at], packed)
                loaded += 1
                assert loaded - retired <= slots
        await context.tick()
        assert context.get(dut.done)

    simulate(dut, check, background=around)


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


def test_pixels_between_those_that_are_added_pass_while_no_word_is_taken() -> None:
    """Each third pixel is added; the one after the next is ready before its word is wanted."""
    picked, stride = 4, 3
    dut = ResidualLoader(TINY)
    beats = [0x01020300 + number for number in range(1 + stride * (picked - 1))]

    async def serve(context: Any) -> None:
        (request,) = await get(context, dut.requests, 1, repeat(False))
        assert request.beats == len(beats)
        await put(context, dut.beats, beats, repeat(False))

    async def check(context: Any) -> None:
        tile = {
            "height": 1,
            "width": picked,
            "channels": TINY.group,
            "residual": 1,
            "residual_planes": 1,
            "residual_stride": stride,
        }
        context.set(dut.tile, tile)
        context.set(dut.start, 1)
        await context.tick()
        context.set(dut.start, 0)
        words = []
        for _ in range(picked):
            await context.tick().until(dut.words.valid)
            words += await get(context, dut.words, 1, repeat(False))
        assert words == beats[::stride]
        await context.tick().until(dut.done)

    simulate(dut, check, background=[serve], deadline=200)


def test_a_residual_that_is_there_before_it_is_wanted_loses_no_pixel() -> None:
    """The first pixel of the second plane waits while the loader finds out about that plane."""
    planes, pixels = 2, 3
    dut = ResidualLoader(TINY)
    beats = [0x01020300 + number for number in range(planes * pixels)]

    async def serve(context: Any) -> None:
        await get(context, dut.requests, planes, repeat(False))
        await put(context, dut.beats, beats, repeat(False))

    async def check(context: Any) -> None:
        tile = {
            "height": 1,
            "width": pixels,
            "channels": planes * TINY.group,
            "residual": 1,
            "residual_planes": planes,
            "residual_stride": 1,
        }
        context.set(dut.tile, tile)
        context.set(dut.start, 1)
        await context.tick()
        context.set(dut.start, 0)
        assert await get(context, dut.words, len(beats), repeat(False)) == beats

    simulate(dut, check, background=[serve], deadline=200)
