"""A lowered layer is the convolution: its descriptor leads the hardware through it, and no
field overflows.

A model of the address generators in numpy, straight from `hw.contract.program`, stands in for the
RTL.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from compiler.lowering.layer_lowering import LoweredLayer, lower_layer
from golden import arithmetic
from golden.arithmetic import ceil_div
from golden.errors import UserError
from golden.layers import Conv, Pool, Predictor
from golden.layers import conv as golden_conv
from golden.pattern import MASKS, Pattern
from hw.contract.config import PRESETS, Config
from hw.contract.program import RESIDUE_BITS
from hw.contract.records import RECORD_BYTES, record_words
from hw.layouts.descriptor import ChannelRecord, LayerDescriptor
from hw.lib.structs import StructConst, struct_bits, struct_from_bits
from tb.random.draws import CORNERS
from tb.random.layers import random_layer
from tests.hw.small_configs import TINY


def descriptor_of(lowered: LoweredLayer) -> StructConst:
    """The descriptor as the hardware reads it: from its bits."""
    layout = LayerDescriptor(lowered.config)
    return struct_from_bits(layout, struct_bits(layout, lowered.fields))


def records_of(lowered: LoweredLayer) -> list[tuple[Any, np.ndarray]]:
    """Each channel's record and weights (kernel_words, V), as the loader takes them apart."""
    layer, headers = descriptor_of(lowered), record_words(lowered.config)
    channels = lowered.records.reshape(layer.channels, headers + layer.kernel_words, -1)
    return [
        (
            ChannelRecord().from_bits(
                int.from_bytes(words[:headers].tobytes()[:RECORD_BYTES], "little")
                & (1 << ChannelRecord().size) - 1
            ),
            words[headers:].view(np.int8).astype(np.int64),
        )
        for words in channels
    ]


def walk(lowered: LoweredLayer, ifm: torch.Tensor, residual: torch.Tensor | None) -> np.ndarray:
    """The dense ofm (c_o, height, width) by the descriptor's own words, one MAC word at a time."""
    config, layer = lowered.config, descriptor_of(lowered)
    values = []
    for number, words in enumerate(lowered.pack_ifm(ifm)):
        assert len(words) * lowered.slots <= config.ifm_words
        buffer = np.full((config.ifm_words, config.lanes), 0xAA, np.uint8)  # a layer before's
        buffer[(number * layer.slice_step + np.arange(len(words))) % config.ifm_words] = words
        values.append(buffer.view(np.int8) if layer.ifm_signed else buffer)
    records = records_of(lowered)
    residuals = np.zeros(
        (ceil_div(layer.channels, config.group) * layer.pixels, config.group), np.uint8
    )
    if residual is not None:
        assert layer.residual
        residuals = lowered.pack_residual(residual)
    if layer.residual_signed:
        residuals = residuals.view(np.int8)
    ofm = np.zeros((layer.channels, layer.height, layer.width), np.int64)
    for row in range(layer.height):
        for col in range(layer.width):
            address = row * layer.row_step + col * layer.col_step
            addresses = []
            for _ in range(layer.outer_count):
                for step in range(layer.inner_count):
                    addresses.append(address)
                    last = step == layer.inner_count - 1
                    address += layer.outer_step if last else layer.inner_step
            for channel, (record, weights) in enumerate(records):
                number = channel // layer.slice_channels
                at = (np.array(addresses) + number * layer.slice_step) % config.ifm_words
                operands = values[number][at].astype(np.int64)
                scale = record.requantiser
                group, lane = divmod(channel, config.group)
                added = int(residuals[group * layer.pixels + row * layer.width + col, lane])
                if layer.residual:
                    added = arithmetic.requantise_wide(
                        added, scale.shortcut_multiplier, scale.shortcut_shift
                    )
                ofm[channel, row, col] = arithmetic.requantise(
                    int((operands * weights).sum()) + scale.bias + added,
                    scale.multiplier,
                    scale.shift,
                    arithmetic.activation_range(bool(layer.ofm_signed)),
                )
    return ofm


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize(
    "config", [TINY, replace(PRESETS["default"], ofm_words=128)], ids=["tiny", "wide"]
)
def test_a_lowered_layer_is_the_convolution(config: Config, corner: str, seed: int) -> None:
    layer = random_layer(config, random.Random(f"{corner} {seed}"), corner, corner)
    ofm = walk(layer.lowered, layer.ifm, layer.residual)
    np.testing.assert_array_equal(ofm, layer.expected.dense[0].numpy())
    assert layer.lowered.pack_ifm(layer.ifm).dtype == np.uint8
    descriptor = descriptor_of(layer.lowered)
    assert descriptor.kernel_words == descriptor.inner_count * descriptor.outer_count
    assert descriptor.pixels == descriptor.height * descriptor.width


@pytest.mark.parametrize("dilation", [(1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 3), (3, 1)])
@pytest.mark.parametrize("channels", [5, 19])
def test_the_taps_of_a_dilated_kernel_are_apart(
    channels: int, kernel: tuple[int, int], dilation: tuple[int, int]
) -> None:
    """A pixel of 5 channels is one word of 8 lanes; one of 19 channels is three."""
    generator = torch.Generator().manual_seed(1)

    def drawn(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator, dtype=torch.int32)

    layer = replace(
        conv(in_channels=channels, kernel=kernel),
        weight=drawn(-128, 128, 4, channels, *kernel).to(torch.int8),
        multiplier=torch.full((4,), 1 << 13, dtype=torch.int32),
        shift=torch.full((4,), 23, dtype=torch.int32),
        padding=(1, 2, 0, 1),
        dilation=dilation,
    )
    ifm = drawn(0, 256, channels, 6, 9)
    ofm = walk(lower_conv(layer, (channels, 6, 9)), ifm, None)
    expected = golden_conv(layer, ifm[None]).dense[0].numpy()
    np.testing.assert_array_equal(ofm, expected)
    assert len(np.unique(expected)) > 10


def test_a_pooling_that_reaches_over_the_left_edge_begins_there() -> None:
    pool = Pool(name="pool", kernel=(2, 3), stride=(1, 2), padding=(1, 0, 2, 1))
    lowered = lower_layer(TINY, conv(), (8, 6, 9), ifm_signed=False, pool=pool)
    fields = lowered.fields["pool"]
    assert (fields["top"], fields["left"]) == (-1, -2)
    assert fields["line_step"] == 9  # a row of the ofm, as windows move down by one


@pytest.mark.parametrize("pattern", [*MASKS.values(), Pattern(5, 1, 2)], ids=str)
def test_a_predictor_arrives_whole(pattern: Any) -> None:
    rng = random.Random(1)
    predictor = None
    while predictor is None:
        layer = random_layer(TINY, rng, "extreme predictor", "x")
        predictor = layer.predictor
    predictor = replace(predictor, pattern=pattern)
    channels, height, width = layer.ifm.shape
    lowered = lower_conv(layer.conv, (channels, height, width), predictor=predictor)
    descriptor = descriptor_of(lowered)
    assert descriptor.zap
    assert descriptor.period == pattern.period
    assert descriptor.residues >> RESIDUE_BITS == pattern.row_step
    for residue in range(32):
        assert descriptor.pattern >> residue & 1 == pattern.computes(0, residue)
    for channel, (record, _) in enumerate(records_of(lowered)):
        zap = record.predictor
        assert list(zap.weight1) == predictor.weight1[channel].flatten().tolist()
        assert list(zap.weight2) == predictor.weight2[channel].flatten().tolist()
        assert zap.shift1 == predictor.shift1[channel]
        assert zap.offset1 == predictor.bias1[channel] + 2**zap.shift1 // 2
        assert zap.threshold == predictor.threshold[channel]


def test_without_a_predictor_everything_is_computed() -> None:
    descriptor = descriptor_of(lower_conv(conv(), (8, 5, 5)))
    assert not descriptor.zap
    assert descriptor.pattern == (1 << 32) - 1


@pytest.mark.parametrize("channels", [1, 4, 5, 8, 9])
@pytest.mark.parametrize("signed", [False, True], ids=["u8", "s8"])
def test_the_ofm_stream_reads_back_as_the_ofm(channels: int, signed: bool) -> None:
    layer = replace(conv(channels=channels), signed_output=signed)
    lowered = lower_conv(layer, (8, 3, 5))
    low, high = arithmetic.activation_range(signed)
    ofm = np.random.default_rng(1).integers(low, high + 1, (channels, 3, 5))
    words = np.zeros((ceil_div(channels, TINY.group), 3, 5, TINY.group), np.uint8)
    for channel, plane in enumerate(ofm):
        words[channel // TINY.group, :, :, channel % TINY.group] = plane.astype(np.uint8)
    unpacked = lowered.unpack_ofm(words.reshape(-1, TINY.group))
    np.testing.assert_array_equal(unpacked, ofm)
    assert unpacked.dtype == np.int32


@pytest.mark.parametrize(
    ("in_channels", "kernel", "words"),
    [
        (1, (3, 3), 2),  # 8 of 9 taps in a word of 8 lanes: two columns of patches
        (1, (2, 4), 2),  # one would do, but a result takes a PE of two at least two cycles
        (3, (3, 3), 6),  # two taps of three channels
        (4, (5, 5), 15),
        (8, (3, 3), 9),
        (9, (3, 3), 18),
        (16, (1, 1), 2),
    ],
)
def test_few_channels_share_a_word(in_channels: int, kernel: tuple[int, int], words: int) -> None:
    layer = conv(in_channels=in_channels, channels=64, kernel=kernel)
    assert lower_conv(layer, (in_channels, 7, 7)).fields["kernel_words"] == words


def conv(
    *, in_channels: int = 8, channels: int = 4, kernel: tuple[int, int] = (3, 3), padding: int = 1
) -> Conv:
    return Conv(
        name="conv7",
        weight=torch.ones((channels, in_channels, *kernel), dtype=torch.int8),
        bias=torch.zeros(channels, dtype=torch.int32),
        multiplier=torch.ones(channels, dtype=torch.int32),
        shift=torch.ones(channels, dtype=torch.int32),
        padding=(padding if min(kernel) > padding else 0,) * 4,
    )


def zap(channels: int) -> Predictor:
    return Predictor(
        pattern=MASKS["A"],
        weight1=torch.ones((channels, 3, 3), dtype=torch.int8),
        bias1=torch.zeros(channels, dtype=torch.int32),
        shift1=torch.zeros(channels, dtype=torch.int32),
        weight2=torch.ones((channels, 3, 3), dtype=torch.int8),
        threshold=torch.zeros(channels, dtype=torch.int32),
    )


def lower_conv(
    layer: Conv,
    ifm_shape: tuple[int, int, int],
    *,
    config: Config = TINY,
    predictor: Predictor | None = None,
) -> LoweredLayer:
    return lower_layer(config, layer, ifm_shape, ifm_signed=False, predictor=predictor)


@pytest.mark.parametrize(
    ("layer", "ifm_shape", "predictor", "says"),
    [
        (
            conv(in_channels=16, kernel=(7, 7), padding=0),
            (16, 16, 40),
            None,
            "560 words of ifm.*ifm_words = 512",
        ),
        (
            conv(in_channels=232, padding=0),
            (232, 3, 3),
            None,
            "261 words of weights.*weight_words = 256",
        ),
        (conv(in_channels=1), (1, 3, 129), None, "129 pixels of ofm.*ofm_words = 128"),
        (conv(in_channels=1), (1, 9, 26), zap(4), "130 pixels of ofm.*ofm_words = 128"),
        (conv(in_channels=1), (1, 3, 33), zap(4), "33 pixels in an ofm row.*row_pixels = 32"),
        (conv(channels=4097), (8, 2, 2), None, "4097 output channels.*most_channels = 4096"),
    ],
    ids=["ifm_words", "weight_words", "ofm_words", "ofm_words, ZAP", "row_pixels", "channels"],
)
def test_a_layer_of_which_no_strip_fits_is_refused(
    layer: Conv, ifm_shape: tuple[int, int, int], predictor: Predictor | None, says: str
) -> None:
    """The message names layer and configuration, what is needed and which field is too small."""
    with pytest.raises(UserError, match=f"layer 'conv7' needs {says}") as caught:
        lower_conv(layer, ifm_shape, predictor=predictor)
    assert "configuration 'tiny'" in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "ifm_shape", "predictor", "field"),
    [
        (conv(in_channels=16, kernel=(7, 7), padding=0), (16, 16, 16), None, "ifm_words"),
        (conv(in_channels=128, kernel=(4, 4), padding=0), (128, 4, 4), None, "weight_words"),
        (conv(in_channels=1), (1, 16, 8), None, "ofm_words"),
        (conv(in_channels=1), (1, 4, 32), zap(4), "row_pixels"),
        (conv(in_channels=1), (1, 3, 33), None, "row_pixels, which only ZAP needs"),
        (conv(channels=4096), (8, 1, 1), None, "channels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_layer_that_just_fits_is_one_tile(
    layer: Conv, ifm_shape: tuple[int, int, int], predictor: Predictor | None, field: str
) -> None:
    fields = lower_conv(layer, ifm_shape, predictor=predictor).fields
    layout = LayerDescriptor(TINY)
    descriptor = struct_from_bits(layout, struct_bits(layout, fields))
    assert {name: descriptor[name] for name in fields} == fields, f"a field overflows at {field}"


def test_a_predictor_needs_a_build_with_one() -> None:
    config = replace(TINY, predictor=False)
    with pytest.raises(UserError, match=r"layer 'conv7' has a predictor and .*'tiny' has none"):
        lower_conv(conv(), (8, 5, 5), config=config, predictor=zap(4))
    assert not lower_conv(conv(), (8, 5, 5), config=config).fields["zap"]
