"""Units of work on their way to the MAC array: pixels, groups of them, and results.

Every stream of pixels is in raster order within a channel, and a channel's pixels are followed by
one item marked `end` that carries none.
"""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config

__all__ = ["Group", "Grouper", "Pixel", "Result", "Tag", "Task", "WorkItem", "sum_bits"]


class Pixel(data.StructLayout):
    """An ofm pixel: its raster index, and the ifm address of its kernel's first word."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {"index": ceil_log2(config.ofm_words), "base": ceil_log2(config.ifm_words)}
        )


class WorkItem(data.StructLayout):
    """A pixel to compute, or, where `end` is set, the end of a channel."""

    def __init__(self, config: Config) -> None:
        super().__init__({"pixel": Pixel(config), "end": 1})


class Group(data.StructLayout):
    """Up to P pixels of one channel, from the lowest place up; `end` marks a channel's last group.

    The last group of a channel may be empty.
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
    """What a result needs to find its way: the channel's low bits, and which pass it belongs to."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {"channel": max(2, ceil_log2(2 * config.group)), "survivor": 1},
        )


class Task(data.StructLayout):
    """A group as the array takes it."""

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
    """Width of an exact dot product of the longest kernel that fits, before its bias.

    A product's magnitude is at most 255 * 128 < 2**15.
    """
    return 1 + 15 + ceil_log2(config.lanes * config.weight_words)


class Result(data.StructLayout):
    """One pixel's dot product; `last` marks the last pixel of its group."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "sum": signed(sum_bits(config)),
                "index": unsigned(ceil_log2(config.ofm_words)),
                "tag": Tag(config),
                "last": 1,
            }
        )


class Grouper(wiring.Component):
    """Compacts a stream of pixels into groups of P, so that every PE has one, whatever was skipped.

    Takes one pixel a cycle. A group leaves when it is full or when its channel ends; one may wait
    behind one that is not taken, so that `items.ready` comes from a register. Where
    `config.compact` is not set it leaves when the next pixel is none of the same P neighbours.

    Members
    -------
    items : In(stream of WorkItem)
    groups : Out(stream of Group)
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "items": In(stream.Signature(WorkItem(config))),
                "groups": Out(stream.Signature(Group(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pes = self._config.pes
        gathered = Signal(data.ArrayLayout(Pixel(self._config), pes))
        count = Signal(range(max(pes, 2)))  # Verilog has no vector of no bits
        item = self.items.payload
        group = self.groups.payload

        waiting = Signal()
        waiting_mask = Signal(pes)
        waiting_end = Signal()
        room = ~self.groups.valid | self.groups.ready
        if not self._config.compact:
            return self._keep_apart(m, gathered, room)
        taken = self.items.valid & self.items.ready
        completes = taken & (item.end | (count == pes - 1))
        mask = (1 << (count + ~item.end)) - 1
        m.d.comb += self.items.ready.eq(~waiting)

        with m.If(taken):
            m.d.sync += [gathered[count].eq(item.pixel), count.eq(Mux(completes, 0, count + 1))]
        with m.If(completes):
            m.d.sync += [waiting.eq(~room), waiting_mask.eq(mask), waiting_end.eq(item.end)]
        with m.If(room):
            m.d.sync += [
                self.groups.valid.eq(waiting | completes),
                waiting.eq(0),
                group.end.eq(Mux(waiting, waiting_end, item.end)),
                group.mask.eq(Mux(waiting, waiting_mask, mask)),
                group.pixels.eq(gathered),
            ]
            with m.If(~waiting):
                m.d.sync += group.pixels[count].eq(item.pixel)
        return m

    def _keep_apart(self, m: Module, gathered, room):
        """Groups of those of P neighbours that are there; the rest of the PEs are idle."""
        config = self._config
        item, group = self.items.payload, self.groups.payload
        place_bits = ceil_log2(config.pes)
        count = Signal(range(config.pes + 1))
        moves_on = item.pixel.index[place_bits:] != gathered[0].index[place_bits:]
        completes = item.end | ((count != 0) & moves_on)
        m.d.comb += self.items.ready.eq(room | ~completes)
        with m.If(self.groups.ready):
            m.d.sync += self.groups.valid.eq(0)
        with m.If(self.items.valid & self.items.ready):
            m.d.sync += [gathered[count].eq(item.pixel), count.eq(count + 1)]
            with m.If(completes):
                m.d.sync += [
                    self.groups.valid.eq(1),
                    group.end.eq(item.end),
                    group.mask.eq((1 << count) - 1),
                    group.pixels.eq(gathered),
                    gathered[0].eq(item.pixel),
                    count.eq(~item.end),
                ]
        return m
