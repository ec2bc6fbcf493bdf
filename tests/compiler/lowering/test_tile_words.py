"""Words of a tile's loads: where its rows begin, and how many columns and rows of zeros it has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compiler.lowering.layer_lowering import lower_layer
from compiler.lowering.strips import cut_strips
from compiler.lowering.tile_words import ifm_words, residual_words
from compiler.memory_layout import Place
from golden.layers import Conv, Padding, Pool, Shortcut
from tests.hw.small_configs import TINY

HEIGHT, WIDTH = 6, 9
ADDRESS = 4096
ONES = torch.ones(4, dtype=torch.int32)


def conv(kernel: int) -> Conv:
    """A convolution of eight channels to four."""
    weight = torch.ones((4, 8, kernel, kernel), dtype=torch.int8)
    return Conv(name="conv", weight=weight, bias=ONES, multiplier=ONES, shift=ONES)


@pytest.mark.parametrize(
    ("padding", "first", "height", "width", "zeros"),
    [
        # First pixel that is loaded, its rows and columns, zeros above, below, left and right.
        ((0, 0, 0, 0), (0, 0), 6, 9, (0, 0, 0, 0)),
        ((1, 2, 3, 1), (0, 0), 6, 9, (1, 2, 3, 1)),
        ((-1, 0, -2, 0), (1, 2), 5, 7, (0, 0, 0, 0)),
        ((0, -2, 0, -3), (0, 0), 4, 6, (0, 0, 0, 0)),
        ((2, -1, -1, 4), (0, 1), 5, 8, (2, 0, 0, 4)),
    ],
)
def test_negative_padding_leaves_rows_and_columns_out(
    padding: Padding,
    first: tuple[int, int],
    height: int,
    width: int,
    zeros: tuple[int, int, int, int],
) -> None:
    """Pixels have eight channels: two planes of four, and one word of the buffer."""
    layer = replace(conv(2), padding=padding)
    lowered = lower_layer(TINY, layer, (8, HEIGHT, WIDTH), ifm_signed=False)
    (tile,) = lowered.tiles
    words = ifm_words(lowered, tile, Place(ADDRESS, (8, HEIGHT, WIDTH), TINY.group, signed=False))
    assert words["ifm_address"] == ADDRESS + (first[0] * WIDTH + first[1]) * TINY.group
    assert (words["ifm_height"], words["ifm_width"]) == (height, width)
    names = ("pad_top", "pad_bottom", "pad_left", "pad_right")
    assert tuple(words[name] for name in names) == zeros
    assert words["ifm_row"] == WIDTH * TINY.group
    assert words["ifm_plane"] == HEIGHT * WIDTH * TINY.group


@pytest.mark.parametrize("step", [1, 2])
def test_the_residual_of_a_strip_begins_at_its_first_row(step: int) -> None:
    layer = replace(conv(1), shortcut=Shortcut(multiplier=ONES, shift=ONES, stride=step))
    residual = Place(ADDRESS, (4, HEIGHT * step, WIDTH * step), TINY.group, signed=False)
    pixel = Pool(name="", kernel=(1, 1), stride=(1, 1))
    strips = cut_strips(layer, pixel, HEIGHT, 2, zap=False)
    assert len(strips) == 3
    for number, strip in enumerate(strips):
        words = residual_words(layer, strip, residual)
        row = WIDTH * step * TINY.group * step
        assert words["residual_address"] == ADDRESS + 2 * number * row
        assert (words["residual_row"], words["residual_stride"]) == (row, step)
