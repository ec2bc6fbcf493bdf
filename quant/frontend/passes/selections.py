"""Slices, shuffles and paddings that nothing takes in become 1x1 convolutions of copies."""

from __future__ import annotations

import torch

from golden.errors import UserError
from quant.frontend.operations import Convolution, Network, Pad, Shuffle, Slice

__all__ = ["selections_as_convolutions"]


def selections_as_convolutions(network: Network) -> None:
    """Replace each `Slice`, `Shuffle` and `Pad` by a convolution whose weights are zeros and ones.

    It copies the channels that are kept; rows and columns are kept by its stride. Raises UserError
    where rows or columns are cut off, which a convolution does not do.
    """
    for operation in [o for o in network.operations if isinstance(o, Slice | Shuffle | Pad)]:
        c_i, height, width = network.shape(operation.inputs[0])
        c_o = operation.shape[0]
        weight = torch.zeros(c_o, c_i, 1, 1)
        stride, padding = [1, 1], (0, 0, 0, 0)
        if isinstance(operation, Pad):
            top, bottom, left, right, before, _ = operation.amounts
            if min(operation.amounts) < 0:
                raise UserError(f"{operation.where}: cannot be lowered: its padding is negative")
            padding = (top, bottom, left, right)
            weight[before : before + c_i, :, 0, 0] = torch.eye(c_i)
        elif isinstance(operation, Shuffle):
            weight[:, :, 0, 0] = torch.eye(c_i)[operation.order()]
        elif operation.axis == 0:
            weight[:, operation.start : operation.stop : operation.step, 0, 0] = torch.eye(c_o)
        else:
            size = (height, width)[operation.axis - 1]
            last = (size - 1) // operation.step * operation.step
            if operation.start != 0 or operation.stop <= last:
                raise UserError(
                    f"{operation.where}: cannot be lowered: rows or columns that are cut off have"
                    " no hardware"
                )
            stride[operation.axis - 1] = operation.step
            weight[:, :, 0, 0] = torch.eye(c_i)
        copy = Convolution(
            name=operation.name,
            inputs=operation.inputs,
            shape=operation.shape,
            where=operation.where,
            stands_for=operation.stands_for,
            weight=weight,
            bias=torch.zeros(c_o),
            stride=(stride[0], stride[1]),
            padding=padding,
        )
        network.replace(operation, copy)
