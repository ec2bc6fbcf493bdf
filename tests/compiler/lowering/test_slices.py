"""Slices are whole planes that whole groups read, and cover every channel once."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from compiler.lowering.cut_search import estimated_cycles, lower_fastest
from compiler.lowering.layer_lowering import lower_layer
from compiler.lowering.slices import Slices, cut_slices, expanded
from golden.layers import Conv
from hw.contract.config import PRESETS, Config
from tests.hw.small_configs import TINY


def grouped(groups: int, wide: int, kernels: int, kernel: int = 3, stride: int = 1) -> Conv:
    """A convolution whose groups read `wide` channels with `kernels` kernels each."""
    channels = groups * kernels
    ones = torch.ones(channels, dtype=torch.int32)
    return Conv(
        name="conv",
        weight=torch.randint(1, 9, (channels, wide, kernel, kernel)).to(torch.int8),
        bias=ones,
        multiplier=ones,
        shift=ones,
        stride=(stride, stride),
        padding=(kernel // 2,) * 4,
        groups=groups,
    )


@pytest.mark.parametrize(
    ("groups", "wide", "kernels", "slices"),
    [
        (32, 1, 1, Slices(4, 1, 8, 8)),  # depthwise
        (12, 1, 1, Slices(2, 1, 8, 8)),  # the last plane is half full
        (3, 1, 1, Slices(1, 1, 3, 3)),
        (16, 1, 2, Slices(2, 1, 8, 16)),  # two kernels for each channel
        (16, 1, 3, Slices(2, 1, 8, 24)),
        (4, 4, 4, Slices(2, 1, 8, 8)),  # ResNeXt: two groups in a plane
        (3, 16, 16, Slices(3, 2, 16, 16)),
        (4, 12, 12, Slices(2, 3, 24, 24)),  # two groups in three planes
        (3, 4, 8, Slices(2, 1, 8, 16)),
        (4, 8, 6, Slices(1, 4, 32, 24)),  # a plane of the ofm ends with a group after four groups
        (3, 12, 8, Slices(1, 5, 36, 24)),  # a second slice would read a sixth plane
        (2, 64, 8, Slices(2, 8, 64, 8)),
        (1, 16, 16, Slices(1, 2, 16, 16)),
    ],
)
def test_slices_are_the_fewest_planes_of_whole_groups(
    groups: int, wide: int, kernels: int, slices: Slices
) -> None:
    assert cut_slices(grouped(groups, wide, kernels), groups * wide, 8) == slices


@pytest.mark.parametrize("groups", range(1, 14))
def test_expanded_weights_give_the_same_sums(groups: int) -> None:
    for wide, kernels in product((1, 2, 3, 4, 6, 8, 12), (1, 2, 3, 4, 8, 12)):
        _check_sums(grouped(groups, wide, kernels, kernel=1), groups, wide, kernels)


def _check_sums(conv: Conv, groups: int, wide: int, kernels: int) -> None:
    slices = cut_slices(conv, groups * wide, 4)
    pixel = torch.randint(0, 256, (1, groups * wide, 1, 1)).double()
    expected = torch.conv2d(pixel, conv.weight.double(), groups=groups).flatten()
    weight = expanded(conv, slices).double().flatten(1)
    whole = pixel.new_zeros(slices.count * slices.ifm_channels)
    whole[: groups * wide] = pixel.flatten()
    for channel in range(groups * kernels):
        number = channel // slices.channels
        read = whole[number * slices.ifm_channels :][: slices.ifm_channels]
        assert read @ weight[channel] == expected[channel]
    assert slices.count * slices.ifm_channels < groups * wide + 4 or slices.count == 1


def test_a_slice_that_would_fill_the_buffer_is_refused_and_cut() -> None:
    """Its step would be the buffer's size, which is the same as no step."""
    config = replace(TINY, ifm_words=64, ofm_words=64)
    tight = lower_layer(config, grouped(8, 1, 1, kernel=1), (8, 8, 8), ifm_signed=False)
    assert len(tight.tiles) > 1
    assert all(tile.fields["slice_step"] for tile in tight.tiles)


@pytest.mark.parametrize(
    ("config", "part"),
    [(config, 1 if name == "narrow" else 3) for name, config in PRESETS.items()],
    ids=PRESETS,
)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_layer_takes_a_small_part_of_the_dense_cycles(
    config: Config, part: int, stride: int
) -> None:
    """Eight PEs leave the loader of slices few gaps, so `narrow` gains little."""
    shape = (64, 14, 14)
    depthwise, dense = grouped(64, 1, 1, stride=stride), grouped(1, 64, 64, stride=stride)
    cycles = [
        estimated_cycles(lower_fastest(config, layer, shape, ifm_signed=False), shape)
        for layer in (depthwise, dense)
    ]
    assert cycles[0] < cycles[1] / part
