"""Which patches of pixels share a word, and which of their rows lie apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compiler.lowering.patches import column_shift, patches, rows_apart
from compiler.lowering.slices import Slices, cut_slices
from golden.layers import Conv
from tests.hw.small_configs import TINY


def conv(groups: int, stride: int, kernels: int = 4) -> Conv:
    """A convolution whose slices have one input channel and so many kernels each."""
    kernels *= groups
    zeros = torch.zeros(kernels, dtype=torch.int32)
    return Conv(
        name="conv",
        weight=torch.zeros((kernels, 1, 4, 4), dtype=torch.int8),
        bias=zeros,
        multiplier=zeros,
        shift=zeros,
        stride=(stride, stride),
        groups=groups,
    )


def slices_of(layer: Conv) -> Slices:
    return cut_slices(layer, layer.groups, TINY.group)


@pytest.mark.parametrize(
    ("groups", "stride", "rows", "apart"),
    [(8, 2, 2, True), (8, 4, 2, True), (8, 2, 1, False), (8, 3, 2, False), (1, 2, 2, False)],
)
def test_rows_are_apart_where_slices_and_stride_allow_it(
    groups: int, stride: int, rows: int, apart: bool
) -> None:
    layer = conv(groups, stride)
    slices = slices_of(layer)
    assert (slices.count > 1) == (groups > 1)
    assert rows_apart(layer, (rows, 1), slices) is apart


def test_a_row_that_is_loaded_for_each_row_of_a_patch_counts_as_often() -> None:
    """Patches of two rows would halve the array's steps; loading each row twice costs more."""
    layer = conv(1, 1, kernels=1)
    flat, tall = (1, 4), (2, 4)
    order = patches(TINY, layer, (16, 16), slices_of(layer))
    assert order.index(flat) < order.index(tall)
    many = conv(1, 1, kernels=8)  # so much of the array that loading does not matter
    order = patches(TINY, many, (16, 16), slices_of(many))
    assert order.index(tall) < order.index(flat)


def test_no_patch_is_larger_than_the_kernel_or_a_word() -> None:
    layer = conv(1, 1)
    assert set(patches(TINY, layer, (16, 16), slices_of(layer))) == {
        (rows, cols) for rows in range(1, 5) for cols in range(1, 5) if rows * cols <= TINY.lanes
    }


@pytest.mark.parametrize(("stride", "cols", "shift"), [(2, 2, 1), (3, 2, 0), (4, 2, 1), (4, 4, 2)])
def test_columns_at_which_no_step_begins_have_no_word(stride: int, cols: int, shift: int) -> None:
    assert column_shift(conv(1, stride), (1, cols)) == shift


def test_the_taps_of_a_dilated_kernel_share_no_word() -> None:
    layer = replace(conv(1, 1), dilation=(1, 2))
    assert patches(TINY, layer, (16, 16), slices_of(layer)) == [(1, 1)]
