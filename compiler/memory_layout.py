"""Tensors in external memory: their layout, and the allocation of their addresses.

A tensor of C channels is ceil(C / G) planes, each in raster order with G bytes a pixel (see
`hw.contract.program`). A tensor that others are concatenated into consists of their planes, one
tensor after the other. Where a part does not fill its last plane, slots remain that hold no
channel.

A program for several images has a tensor of each of them. Plane by plane they lie one below the
other, each in raster order; or, where a layer wrote the same row of all images at a time, they lie
beside each other, so that each row is followed by the same row of the next image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    images : int
        Images that a program runs at a time; `shape` is of one of them.
    beside : bool
        The images lie beside each other, not one below the other.
    """

    address: int
    shape: tuple[int, int, int]
    group: int
    signed: bool
    parts: tuple[int, ...] = ()
    images: int = 1
    beside: bool = False

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
        """Bytes from a row of an image to its next."""
        return self.shape[2] * self.group * (self.images if self.beside else 1)

    @property
    def image_bytes(self) -> int:
        """Bytes from an image to the next."""
        _, height, width = self.shape
        return (1 if self.beside else height) * width * self.group

    @property
    def plane_bytes(self) -> int:
        """Bytes from a plane to the next."""
        _, height, width = self.shape
        return self.images * height * width * self.group

    @property
    def size(self) -> int:
        """Bytes of the tensors of all images."""
        return self.planes * self.plane_bytes

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """The shape of what a host hands over: with the images first where there are several."""
        return self.shape if self.images == 1 else (self.images, *self.shape)

    def of_image(self, number: int) -> Place:
        """The place of one image's tensor: its address, and distances as this one has them."""
        return replace(self, address=self.address + number * self.image_bytes)

    def pack(self, tensor: np.ndarray) -> bytes:
        """The bytes of an int32 tensor of `whole_shape`.

        Raises UserError where the tensor has another shape, or values that are not of 8 bits.
        """
        _, height, width = self.shape
        low, high = (-128, 127) if self.signed else (0, 255)
        kind = f"integers {low} .. {high} of shape {self.whole_shape}"
        if tensor.shape != self.whole_shape or not np.issubdtype(tensor.dtype, np.integer):
            raise UserError(f"the tensor is {tensor.dtype} of shape {tensor.shape}, must be {kind}")
        if tensor.min() < low or tensor.max() > high:
            raise UserError(
                f"the tensor has values {tensor.min()} .. {tensor.max()}, must be {kind}; "
                "quantise the image first"
            )
        images = tensor.reshape(self.images, *self.shape)
        padded = np.zeros((self.images, self.planes * self.group, height, width), np.uint8)
        padded[:, self.slots] = images.astype(np.uint8)
        pixels = padded.reshape(self.images, self.planes, self.group, height, width)
        return pixels.transpose(*self._order).tobytes()

    def unpack(self, data: bytes) -> np.ndarray:
        """The int32 tensor of `whole_shape` of its bytes."""
        sizes = self.images, self.planes, self.group, *self.shape[1:]
        pixels = np.frombuffer(data, np.int8 if self.signed else np.uint8)
        pixels = pixels.reshape([sizes[axis] for axis in self._order])
        images = pixels.transpose(np.argsort(self._order)).reshape(self.images, -1, *self.shape[1:])
        return images[:, self.slots].astype(np.int32).reshape(self.whole_shape)

    @property
    def _order(self) -> tuple[int, ...]:
        """The axes (image, plane, slot, row, column) in the order in which memory has them."""
        return (1, 3, 0, 4, 2) if self.beside else (1, 0, 3, 4, 2)


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
