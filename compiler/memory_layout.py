"""Tensors in external memory: their layout, and the allocation of their addresses.

A tensor of C channels is ceil(C / G) planes, each in raster order with G bytes a pixel (see
`hw.contract.program`). A tensor that others are concatenated into consists of their planes, one
tensor after the other. Where a part does not fill its last plane, slots remain that hold no
channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from golden.arithmetic import ceil_div
from golden.errors import UserError

__all__ = ["ALIGNMENT", "Allocator", "Place", "aligned"]

ALIGNMENT = 64
"""Every tensor and table begins at a multiple of it: whole beats of any bus."""


def aligned(size: int) -> int:
    """A size rounded up to a multiple of `ALIGNMENT`."""
    return ceil_div(size, ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Place:
    """A tensor's address and layout in memory.

    Parameters
    ----------
    address : int
        Offset into the window, in bytes.
    shape : (channels, height, width)
    group : int
        G, channels of a plane.
    signed : bool
        The tensor is s8, not u8.
    parts : tuple of int
        Channels of each of the tensors that are concatenated into it; empty for any other.
    """

    address: int
    shape: tuple[int, int, int]
    group: int
    signed: bool
    parts: tuple[int, ...] = ()

    @property
    def slots(self) -> list[int]:
        """Each channel's position, counted through the G positions of every plane."""
        slots: list[int] = []
        plane = 0
        for channels in self.parts or self.shape[:1]:
            slots += range(plane * self.group, plane * self.group + channels)
            plane += ceil_div(channels, self.group)
        return slots

    @property
    def slot_count(self) -> int:
        """Positions up to the last that holds a channel."""
        return self.slots[-1] + 1

    @property
    def planes(self) -> int:
        """Number of planes."""
        return ceil_div(self.slot_count, self.group)

    @property
    def row_bytes(self) -> int:
        """Bytes from a row to the next."""
        return self.shape[2] * self.group

    @property
    def plane_bytes(self) -> int:
        """Bytes from a plane to the next."""
        return self.shape[1] * self.row_bytes

    @property
    def size(self) -> int:
        """Bytes of the whole tensor."""
        return self.planes * self.plane_bytes

    def pack(self, tensor: np.ndarray) -> bytes:
        """The bytes of an int32 tensor of this shape.

        Raises UserError where the tensor has another shape, or values that are not of 8 bits.
        """
        _, height, width = self.shape
        low, high = (-128, 127) if self.signed else (0, 255)
        kind = f"integers {low} .. {high} of shape {self.shape}"
        if tensor.shape != self.shape or not np.issubdtype(tensor.dtype, np.integer):
            raise UserError(f"the tensor is {tensor.dtype} of shape {tensor.shape}, must be {kind}")
        if tensor.min() < low or tensor.max() > high:
            raise UserError(
                f"the tensor has values {tensor.min()} .. {tensor.max()}, must be {kind}; "
                "quantise the image first"
            )
        padded = np.zeros((self.planes * self.group, height, width), np.uint8)
        padded[self.slots] = tensor.astype(np.uint8)
        planes = padded.reshape(self.planes, self.group, height, width)
        return planes.transpose(0, 2, 3, 1).tobytes()

    def unpack(self, data: bytes) -> np.ndarray:
        """The int32 tensor (channels, height, width) of its bytes."""
        _, height, width = self.shape
        planes = np.frombuffer(data, np.int8 if self.signed else np.uint8)
        planes = planes.reshape(self.planes, height, width, self.group)
        return planes.transpose(0, 3, 1, 2).reshape(-1, height, width)[self.slots].astype(np.int32)


class Allocator:
    """Hands out memory from `base` upwards: each time the lowest gap that is large enough.

    Attributes
    ----------
    end : int
        The first address that was never handed out.
    """

    def __init__(self, base: int) -> None:
        self._base = base
        self._used: list[tuple[int, int]] = []
        self.end = base

    def take(self, size: int) -> int:
        """The address of `size` bytes."""
        size = aligned(size)
        address = self._base
        for first, end in sorted(self._used):
            if first - address >= size:
                break
            address = end
        self._used.append((address, address + size))
        self.end = max(self.end, address + size)
        return address

    def free(self, address: int) -> None:
        """Give back what `take` handed out at `address`."""
        self._used = [(first, end) for first, end in self._used if first != address]
