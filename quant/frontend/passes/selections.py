"""Slices, shuffles and paddings that nothing takes in become 1x1 convolutions of copies."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.frontend.operations import Convolution, Network, Pad, Shuffle, Slice

__all__ = ["selections_as_convolutions"]


def selections_as_convolutions(network: Network) -> None:
    """Replace each `Slice`, `Shuffle` and `Pad` by a convolution whose weights are zeros and ones.

    It copies the channels that are kept. Rows and columns are kept by its stride, and left out by
    negative padding.
    """
    for operation in [o for o in network.operations if isinstance(o, Slice | Shuffle | Pad)]:
        c_i, height, width = network.shape(operation.inputs[0])
        channels: Tensor | None = None
        stride, padding = [1, 1], [0, 0, 0, 0]
        if isinstance(operation, Pad):
            *padding, before, after = operation.amounts
            if before or after:
                channels = torch.arange(-before, c_i + after)
        elif isinstance(operation, Shuffle):
            channels = operation.order()
        elif operation.axis == 0:
            channels = torch.arange(operation.start, operation.stop, operation.step)
        else:
            axis = operation.axis - 1
            stride[axis] = operation.step
            count = operation.shape[operation.axis]
            end = operation.start + (count - 1) * operation.step + 1
            # The elements that the step passes over at the end do no harm.
            last = max(end, min(operation.stop, (height, width)[axis]))
            padding[2 * axis : 2 * axis + 2] = -operation.start, last - (height, width)[axis]
        weight, groups = _copies(c_i, channels)
        top, bottom, left, right = padding
        copy = Convolution(
            name=operation.name,
            inputs=operation.inputs,
            shape=operation.shape,
            where=operation.where,
            stands_for=operation.stands_for,
            weight=weight,
            bias=torch.zeros(len(weight)),
            stride=(stride[0], stride[1]),
            padding=(top, bottom, left, right),
            groups=groups,
            copies=True,
        )
        network.replace(operation, copy)


def _copies(c_i: int, channels: Tensor | None) -> tuple[Tensor, int]:
    """Weights that copy these channels, zeros for numbers that no channel has, and their groups."""
    if channels is None:
        return torch.ones(c_i, 1, 1, 1), c_i
    numbers = torch.arange(c_i)
    weight = (channels[:, None] == numbers).float()
    return weight[:, :, None, None], 1
