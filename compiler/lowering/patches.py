"""Patches: how pixels with few channels share a word of the ifm buffer.

A word of the ifm buffer holds V input channels of one pixel. Where a pixel has few channels, a word
holds a patch of neighbouring pixels instead, and one step of the kernel covers as many of its taps:
kernel columns and rows fill the array's lanes in place of channels. A column at which no step
begins, because a stride passes over it, has no word.

A patch is (vertical, horizontal) in pixels; (1, 1) where channels fill a word.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from compiler.lowering.slices import Slices
from golden.arithmetic import ceil_div
from golden.layers import Conv
from hw.contract.config import Config
from hw.contract.program import MAX_COL_SHIFT

__all__ = [
    "Patch",
    "column_shift",
    "kernel_steps",
    "pack_patches",
    "patches",
    "row_words",
    "rows_apart",
]

Patch = tuple[int, int]


def patches(config: Config, conv: Conv, size: tuple[int, int], slices: Slices) -> list[Patch]:
    """All patches that fit into a word, first those that cost array and ifm loader fewest cycles.

    The ifm is of `size`, (height, width). The array finishes at most one result a cycle. The loader
    takes a beat a cycle, and takes each row once for each row of a patch.
    """
    if conv.dilation != (1, 1):
        return [(1, 1)]  # the taps of a patch are neighbours
    channels, (height, width) = slices.ifm_channels, size
    out_h, out_w = conv.output_size(height, width)
    results = len(conv.weight) * out_h * out_w

    def cost(patch: Patch) -> float:
        rows, cols = kernel_steps(conv.kernel, patch)
        beats = ceil_div(channels, config.group) * config.group // config.bus_bytes
        passes = 1 if rows_apart(conv, patch, slices) else patch[0]
        loads = slices.count * passes * height * width * beats
        return results * max(rows * cols / config.pes, 1) + loads

    return sorted(
        (
            (v, h)
            for v in range(1, conv.kernel[0] + 1)
            for h in range(1, conv.kernel[1] + 1)
            if v * h <= max(config.lanes // channels, 1)
        ),
        key=lambda patch: (cost(patch), patch),
    )


def kernel_steps(kernel: tuple[int, int], patch: Patch) -> tuple[int, int]:
    """The number of patches (vertically, horizontally) that cover a kernel."""
    return ceil_div(kernel[0], patch[0]), ceil_div(kernel[1], patch[1])


def column_shift(conv: Conv, patch: Patch) -> int:
    """The shift with which steps of a kernel begin at every 2**shift-th column only."""
    _, cols = kernel_steps(conv.kernel, patch)
    between = conv.stride[1] if cols == 1 else gcd(conv.stride[1], patch[1])
    return min((between & -between).bit_length() - 1, MAX_COL_SHIFT)


def rows_apart(conv: Conv, patch: Patch, slices: Slices) -> bool:
    """Say whether patches begin at every patch[0]-th row alone, because the stride allows that.

    Each row is then loaded once. Layers without slices are laid out without this.
    """
    return slices.count > 1 and patch[0] > 1 and conv.stride[0] % patch[0] == 0


def row_words(
    config: Config, conv: Conv, size: tuple[int, int], patch: Patch, slices: Slices
) -> int:
    """Words of one row of a slice of the ifm in the buffer, padding included.

    In a layer with slices, a row has no words for patches that begin in the padding on the right
    and that no kernel reads.
    """
    _, _, left, right = conv.padding
    width = size[1]
    columns = left + width + right
    if slices.count > 1:
        _, steps = kernel_steps(conv.kernel, patch)
        last = (conv.output_size(*size)[1] - 1) * conv.stride[1] + (steps - 1) * patch[
            1
        ] * conv.dilation[1]
        columns = min(columns, max(last + 1, left + width - patch[1] + 1))
    return ceil_div(columns, 1 << column_shift(conv, patch)) * ceil_div(
        slices.ifm_channels, config.lanes
    )


def pack_patches(pixels: np.ndarray, patch: Patch, lanes: int) -> np.ndarray:
    """Each pixel's patch as words: (..., h, w, c) to (..., h, w, words, V).

    A patch's pixels follow each other row by row; those past the edge are zero.
    """
    height, width, _ = pixels.shape[-3:]
    vertical, horizontal = patch
    others = [(0, 0)] * (pixels.ndim - 3)
    extended = np.pad(pixels, (*others, (0, vertical - 1), (0, horizontal - 1), (0, 0)))
    packed = np.concatenate(
        [
            extended[..., v : v + height, h : h + width, :]
            for v in range(vertical)
            for h in range(horizontal)
        ],
        axis=-1,
    )
    words = ceil_div(packed.shape[-1], lanes)
    missing = words * lanes - packed.shape[-1]
    packed = np.pad(packed, (*others, (0, 0), (0, 0), (0, missing)))
    return packed.reshape(*pixels.shape[:-1], words, lanes)
