"""Layouts of what flows through the MAC array: pixels to compute, tasks of them, and results.

A stream of pixels is in raster order within a channel. After a channel's pixels comes one item that
is marked `end` and carries no pixel.

Up to P pixels, one for each PE, make a pixel vector. (A group, by contrast, is G channels.)
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2

from hw.contract.config import Config

__all__ = ["Pixel", "PixelOrEnd", "PixelVector", "Result", "Tag", "Task", "sum_bits"]


class Pixel(data.StructLayout):
    """An ofm pixel: its raster index, and the ifm address of its kernel's first word."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {"index": ceil_log2(config.ofm_words), "base": ceil_log2(config.ifm_words)}
        )


class PixelOrEnd(data.StructLayout):
    """A pixel to compute, or, where `end` is set, the end of a channel."""

    def __init__(self, config: Config) -> None:
        super().__init__({"pixel": Pixel(config), "end": 1})


class PixelVector(data.StructLayout):
    """Up to P pixels of one channel, from the lowest place up; `mask` has a bit for each of them.

    `end` marks a channel's last vector, which may be empty.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "pixels": data.ArrayLayout(Pixel(config), config.pes),
                "mask": config.pes,
                "end": 1,
            }
        )


class Tag(data.StructLayout):
    """Identifies a result: its channel's low bits, and whether it belongs to the survivors' pass.

    A channel is computed in two passes: first its pixels of `I_s`, then the survivors among `I_t`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            {"channel": max(2, ceil_log2(2 * config.group)), "survivor": 1},
        )


class Task(data.StructLayout):
    """A pixel vector for the MAC array, with the address of its channel's first weight word."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "pixels": data.ArrayLayout(Pixel(config), config.pes),
                "mask": config.pes,
                "weight_base": ceil_log2(config.weight_words),
                "tag": Tag(config),
            }
        )


def sum_bits(config: Config) -> int:
    """Width of the exact dot product of the longest kernel that fits, before its bias.

    A product's magnitude is at most 255 * 128 < 2**15.
    """
    return 1 + 15 + ceil_log2(config.lanes * config.weight_words)


class Result(data.StructLayout):
    """One pixel's dot product; `last` marks the last pixel of its task."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "sum": signed(sum_bits(config)),
                "index": unsigned(ceil_log2(config.ofm_words)),
                "tag": Tag(config),
                "last": 1,
            }
        )
