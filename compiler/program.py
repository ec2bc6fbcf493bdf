"""A compiled network: its memory image, and where everything lies.

It needs neither torch nor the bundle that it was made from, so that a host may be a small one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.memory_layout import Place
from golden.errors import UserError
from hw.contract.bus import PAGE_BITS
from hw.contract.config import Config
from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    MAGIC,
    OFFSET_END,
    VERSION,
    Word,
    descriptor_words,
    header_words,
    pack_words,
)

__all__ = [
    "DENSE",
    "MOST_IMAGES",
    "Program",
    "ProgramLayer",
    "check_window",
    "pack_tiles",
    "size_of_tiles",
]

DENSE = "dense"
"""The operating point without ZAP."""
MOST_IMAGES = 64
"""Images that a program may run at a time."""


@dataclass(frozen=True, kw_only=True)
class ProgramLayer:
    """A layer as the core runs it.

    Parameters
    ----------
    name : str
        Name of the bundle's layer; a convolution with its pooling has the convolution's.
    input, residual, output : str
        Names of tensors; `residual` is empty where nothing is added.
    tiles : {operating point: count}
        Number of its tiles.
    macs : int
        Multiply-accumulates of all images without skips, padding included; 0 for pooling.
    ifm_words, kernel_words, pixels : int
        What its largest tile takes of the ifm buffer, of the weight ring for a channel, and of an
        ofm bank.
    """

    name: str
    input: str
    residual: str
    output: str
    tiles: dict[str, int]
    macs: int
    ifm_words: int
    kernel_words: int
    pixels: int

    @property
    def ends(self) -> tuple[str, str]:
        """The tensors that it reads from and writes to."""
        return self.input, self.output


@dataclass(frozen=True, kw_only=True)
class Program:
    """A network in memory.

    Parameters
    ----------
    config : Config
        The cores that it is for.
    network : str
        The network's name.
    image : bytes
        Headers, descriptors, tables. They lie at the beginning of the window.
    end : int
        Bytes of the window that it needs: scratch memory follows the image.
    points : list of str
        Names of the operating points, in the order of their headers.
    counters : int
        Offset of the tiles' counters, `hw.contract.counters.STORED_BYTES` each, in the order in
        which an operating point runs the tiles.
    layers : list of ProgramLayer
        In the order in which they run.
    tensors : {name: Place}
        Tensors between layers, the network's input and output among them. Two may share memory if
        they are not needed at the same time.
    input, output : str
        Names of the network's input and output.
    other_outputs : list of str
        Names of what the network returns besides.
    scales : {tensor: float}
        Value of one level of the input and of each output.
    levels : bytes
        The input's level for each channel and each value 0 .. 255 of an 8-bit pixel, channel after
        channel.
    classes : list of str
        Names of the classes that the output scores.
    images : int
        Images that a core runs at a time.
    cores : int
        Cores that run it at a time, each with images of its own (`compiler.several_cores`).
    core_bytes : int
        Bytes from the scratch memory of a core to that of the next. `counters` and `tensors` are
        those of core 0.
    """

    config: Config
    network: str
    image: bytes
    end: int
    points: list[str]
    counters: int
    layers: list[ProgramLayer]
    tensors: dict[str, Place]
    input: str
    output: str
    other_outputs: list[str]
    scales: dict[str, float]
    levels: bytes
    classes: list[str]
    images: int = 1
    cores: int = 1
    core_bytes: int = 0

    def quantise(self, pixels: np.ndarray) -> np.ndarray:
        """The network's input from an image of 8-bit pixels, or from as many as it runs at a time.

        Parameters
        ----------
        pixels : uint8 (channels, height, width), or (images, channels, height, width)

        Returns
        -------
        int32 of the same shape, the same that `golden.network.quantise_images` gives.

        Raises UserError where the image has another type or shape.
        """
        place = self.tensors[self.input]
        if pixels.dtype != np.uint8 or pixels.shape not in (place.shape, place.whole_shape):
            axes = "(channels, height, width)" if self.images == 1 else "(images, channels, ...)"
            raise UserError(
                f"the image is {pixels.dtype} of shape {pixels.shape}, must be uint8 of shape "
                f"{place.whole_shape} {axes}"
            )
        table = np.frombuffer(self.levels, np.int8 if place.signed else np.uint8)
        table = table.reshape(place.shape[0], -1).astype(np.int32)
        planes = pixels.reshape(-1, *place.shape).swapaxes(0, 1)
        found = [levels[plane] for levels, plane in zip(table, planes, strict=True)]
        return np.stack(found).swapaxes(0, 1).reshape(pixels.shape)

    @property
    def outputs(self) -> list[str]:
        """Names of everything that the network returns."""
        return [self.output, *self.other_outputs]

    def headers(self, core: int) -> int:
        """The offset of a core's headers: what its register PROGRAM holds."""
        return core * len(self.points) * HEADER_BYTES

    def descriptors(self, point: str, core: int = 0) -> list[dict[str, int]]:
        """The words of an operating point's tiles, in order, as a core reads them."""
        at = self.headers(core) + self.points.index(point) * HEADER_BYTES
        header = self._words(header_words(self.config), at)
        words = descriptor_words(self.config)
        return [
            self._words(words, header["first"] + number * DESCRIPTOR_BYTES)
            for number in range(header["tiles"])
        ]

    def _words(self, table: dict[str, Word], address: int) -> dict[str, int]:
        values = np.frombuffer(self.image, "<u4", len(table), address)
        return {
            name: int(np.int32(value)) if word.signed else int(value)
            for (name, word), value in zip(table.items(), values, strict=True)
        }


def check_window(end: int, cores: int = 1) -> None:
    """Raise UserError where a program of so many bytes of memory is larger than a window."""
    if end >= OFFSET_END - (1 << PAGE_BITS):
        of_cores = f" for {cores} cores" if cores > 1 else ""
        raise UserError(
            f"the program needs {end:,} bytes of memory{of_cores}; a window has less than "
            f"{OFFSET_END:,}"
        )


def size_of_tiles(tiles: Sequence[int]) -> int:
    """Return the size in bytes of headers and descriptors, from the number of tiles of each."""
    return len(tiles) * HEADER_BYTES + sum(tiles) * DESCRIPTOR_BYTES


def pack_tiles(config: Config, points: Sequence[Sequence[Mapping[str, int]]]) -> bytes:
    """Return the beginning of a program in memory: all headers, then all descriptors.

    `points` has the words of each descriptor for each header.
    """
    headers, descriptors = bytearray(), bytearray()
    for tiles in points:
        words = {
            "magic": MAGIC,
            "version": VERSION,
            "lanes": config.lanes,
            "group": config.group,
            "tiles": len(tiles),
            "first": len(points) * HEADER_BYTES + len(descriptors),
        }
        headers += pack_words(header_words(config), words, HEADER_BYTES)
        for tile in tiles:
            descriptors += pack_words(descriptor_words(config), tile, DESCRIPTOR_BYTES)
    return bytes(headers + descriptors)
