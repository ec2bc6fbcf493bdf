"""Turns operations that make a map larger into convolutions of maps under another shape.

The core computes as many pixels as a padded map has windows. A map of H x W pixels is, in raster
order, one of H * W rows of a single pixel. Between one zero on either side, such a pixel is in the
windows of two columns: on its right in the first window, on its left in the second. A kernel of two
columns makes two pixels of it, each with weights of its own, and the result in raster order is a
map of H x 2W. Rows come in the same way: between a row's worth of zeros on either side, a row is in
twice as many windows of a kernel of two taps that are a row apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quant.frontend.operations import (
    Clamp,
    Convolution,
    DepthToSpace,
    Network,
    Operation,
    TransposedConvolution,
    Upsample,
)
from quant.frontend.passes.chains import Chain

__all__ = ["larger_maps_as_convolutions"]


def larger_maps_as_convolutions(network: Network) -> None:
    """Replace each `Upsample`, `DepthToSpace` and `TransposedConvolution`."""
    for operation in list(network.operations):
        if isinstance(operation, Upsample):
            _upsample(network, operation)
        elif isinstance(operation, DepthToSpace):
            _depth_to_space(network, operation)
        elif isinstance(operation, TransposedConvolution):
            if _makes_blocks(operation):
                _transposed_blocks(network, operation)
            else:
                _transposed(network, operation)


class _Growing(Chain):
    """A chain whose maps grow."""

    def columns(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        groups: int = 1,
        clamp: Clamp | None = None,
        *,
        copies: bool = False,
    ) -> None:
        """Make of each pixel as many in its row as the kernel (c_o, c_i, 1, columns) has columns.

        The first column of the result is that of the last tap. The result is limited by `clamp`.
        """
        _, height, width = self.shape
        channels, count = weight.shape[0], weight.shape[3]
        self.view(height * width, 1)
        self.add(
            Convolution,
            "columns",
            (channels, height * width, count),
            weight=weight,
            bias=torch.zeros(channels) if bias is None else bias,
            padding=(0, 0, count - 1, count - 1),
            groups=groups,
            copies=copies,
        )
        if clamp is not None:
            self.add(Clamp, "clamp", self.shape, low=clamp.low, high=clamp.high)
        self.view(height, width * count)

    def rows(self, weight: Tensor, groups: int) -> None:
        """Copy each row as often as the kernel (c_o, c_i, 1, rows) has taps, last tap first."""
        _, height, width = self.shape
        channels, count = weight.shape[0], weight.shape[3]
        self.add(
            Convolution,
            "rows",
            (channels, height, width * count),
            weight=weight,
            bias=torch.zeros(channels),
            padding=(0, 0, (count - 1) * width, (count - 1) * width),
            dilation=(1, width),
            groups=groups,
            copies=True,
        )
        self.view(height * count, width)

    def zeros_between(self, rows: int, columns: int) -> None:
        """Put rows and columns of zeros behind each row and column: `rows` and `columns` in all."""
        channels, height, width = self.shape
        if columns > 1:
            self.view(height * width, 1)
            shape = (channels, height * width, columns)
            self.copy("columns", shape, padding=(0, 0, 0, columns - 1))
            width *= columns
            self.view(height, width)
        if rows > 1:
            padding = (0, 0, 0, (rows - 1) * width)
            self.copy("rows", (channels, height, rows * width), padding=padding)
            self.view(height * rows, width)


def _upsample(network: Network, operation: Upsample) -> None:
    chain = _Growing(network, operation)
    channels = operation.shape[0]
    rows, columns = operation.factors
    if columns > 1:
        chain.columns(torch.ones(channels, 1, 1, columns), groups=channels, copies=True)
    if rows > 1:
        chain.rows(torch.ones(channels, 1, 1, rows), channels)
    chain.finish()


def _depth_to_space(network: Network, operation: DepthToSpace) -> None:
    """Columns are taken apart first, then rows."""
    chain = _Growing(network, operation)
    channels, (rows, columns) = operation.shape[0], operation.block
    sources = operation.sources().reshape(channels * rows, columns)
    weight = torch.zeros(channels * rows, chain.shape[0], 1, columns)
    for column in range(columns):
        weight[torch.arange(channels * rows), sources[:, column], 0, columns - 1 - column] = 1
    groups = 1
    if not operation.blocks_first:
        groups = channels * rows
        weight = torch.eye(columns).flip(1).repeat(groups, 1, 1).unsqueeze(2)
    chain.columns(weight, groups=groups, copies=True)
    _rows_of_blocks(chain, channels, rows)
    chain.finish()


def _rows_of_blocks(chain: _Growing, channels: int, rows: int) -> None:
    """Put channel number c * rows + row into that row of channel c."""
    if rows > 1:
        chain.rows(torch.eye(rows).flip(1).repeat(channels, 1, 1).unsqueeze(2), channels)


def _makes_blocks(operation: TransposedConvolution) -> bool:
    """Return whether the results of different pixels do not meet."""
    kernel = tuple(operation.weight.shape[2:])
    simple = operation.dilation == (1, 1) and not any(operation.cropping)
    return simple and operation.stride == kernel and kernel[1] > 1


def _transposed_blocks(network: Network, operation: TransposedConvolution) -> None:
    """A kernel's columns are computed as columns, its rows as channels that are taken apart."""
    chain = _Growing(network, operation)
    weight, groups = operation.weight, operation.groups
    c_i, c_g, rows, columns = weight.shape
    # (groups, inputs, c_o, rows, columns) to (groups, c_o, rows, inputs, 1, columns)
    split = weight.reshape(groups, c_i // groups, c_g, rows, columns).permute(0, 2, 3, 1, 4)
    kernels = split.reshape(groups * c_g * rows, c_i // groups, 1, columns).flip(3)
    clamp = _only_clamp(network, operation)
    chain.columns(kernels, operation.bias.repeat_interleave(rows), groups, clamp)
    if clamp is not None:
        operation.stands_for = clamp.stands_for
        network.remove(clamp)
    _rows_of_blocks(chain, groups * c_g, rows)
    chain.finish()


def _only_clamp(network: Network, operation: Operation) -> Clamp | None:
    """The clamp that alone reads what the operation writes, if there is one."""
    if not network.read_once(operation.name):
        return None
    (reader,) = network.readers(operation.name)
    return reader if isinstance(reader, Clamp) else None


def _transposed(network: Network, operation: TransposedConvolution) -> None:
    """A convolution with the kernel turned round, on a map with zeros between its pixels."""
    chain = _Growing(network, operation)
    weight, groups = operation.weight, operation.groups
    c_i, c_g, *kernel = weight.shape
    chain.zeros_between(*operation.stride)
    sides = []
    for axis in (0, 1):
        reach = operation.dilation[axis] * (kernel[axis] - 1)
        before, after = operation.cropping[2 * axis : 2 * axis + 2]
        sides += [reach - before, reach - after - (operation.stride[axis] - 1)]
    top, bottom, left, right = sides
    split = weight.reshape(groups, c_i // groups, c_g, *kernel).transpose(1, 2)
    chain.add(
        Convolution,
        "sums",
        operation.shape,
        weight=split.reshape(groups * c_g, c_i // groups, *kernel).flip(2, 3),
        bias=operation.bias,
        padding=(top, bottom, left, right),
        dilation=operation.dilation,
        groups=groups,
    )
    chain.finish()
