"""Pattern scheduler: emits the pixels of `I_s` from `first_row` on, channel after channel.

It jumps from one pixel of `I_s` to the next, so that a sparse pattern feeds the array as fast as a
dense one: one pixel a cycle, less at most one cycle at the start of a row that begins with `I_t`,
and one for each end of a channel. The distance of a jump depends on a position's residue alone:
its place in the pattern, modulo the period. A table of these distances is prepared before a layer's
first pixel, which comes `SCHEDULER_LATENCY` cycles after the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import Module, Mux, Signal, Value
from amaranth.hdl import ValueLike
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from golden.pattern import MAX_PERIOD
from hw.contract.config import Config
from hw.contract.program import RESIDUE_BITS
from hw.contract.timing import SCHEDULER_LATENCY
from hw.layouts.descriptor import LayerDescriptor
from hw.layouts.pixels import PixelOrEnd
from hw.lib.countdown import Countdown
from hw.lib.multiplier import Multiplier
from hw.lib.structs import struct_signal

if TYPE_CHECKING:
    from amaranth.hdl._ast import Assign

__all__ = ["PatternScheduler"]

_JUMP = data.StructLayout({"computed": 1, "gap": range(MAX_PERIOD + 1), "after": range(MAX_PERIOD)})
"""For a residue: whether `I_s` has it, the distance to the next residue that `I_s` has, and that
residue."""


class PatternScheduler(wiring.Component):
    """Walks through a layer's pixels of `I_s`.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from `start` until the last item has left.
    start : In(1)
        Begin with the first channel; ignored on the way.
    items : Out(stream of PixelOrEnd)
    """

    layer: data.View
    start: Signal
    items: stream.Interface

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "start": In(1),
                "items": Out(stream.Signature(PixelOrEnd(config))),
            }
        )
        pixels = bits_for(config.ofm_words)
        self._row = Signal(pixels, name="row")
        self._col = Signal(pixels, name="col")
        self._row_index = Signal(pixels, name="row_index")
        self._row_base = Signal(ceil_log2(config.ifm_words), name="row_base")
        self._jump = struct_signal(_JUMP, name="jump")  # from the present pixel
        self._below = Signal(range(MAX_PERIOD), name="below")  # residue of the next row's first
        self._channels_left = Signal(bits_for(config.most_channels), name="channels_left")
        # Channels that read the same slice of the ifm, and where the next channel's pixels begin.
        self._of_slice = Countdown(self.layer.slice_channels)
        self._channel_base = Signal.like(self._row_base, name="channel_base")
        # The next entry of the table to be written.
        self._pattern = Signal(2 * MAX_PERIOD, name="pattern")
        preparation, stages = len(self._pattern), 2
        assert preparation + stages == SCHEDULER_LATENCY, "a cycle for each bit, then two stages"
        self._residue = Signal(range(2 * MAX_PERIOD), name="residue")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = self.layer
        item = self.items.payload
        room = ~self.items.valid | self.items.ready
        found = Signal()
        ends = Signal()
        index = Signal.like(item.pixel.index)
        line = Signal.like(item.pixel.base)
        self._emit(m, room, found, ends, index, line)
        prepare = Signal()
        along, next_row = self._prepare_jumps(m, prepare)

        next_col = Signal(len(self._col) + 1)
        m.d.comb += next_col.eq(self._col + self._jump.gap)
        nothing = layer.first_row == layer.height
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        self._pattern.eq(layer.pattern),
                        self._residue.eq(2 * MAX_PERIOD - 2),
                        self._below.eq(layer.residues[:RESIDUE_BITS]),
                        self._channels_left.eq(layer.channels),
                        self._channel_base.eq(layer.first_base),
                        *self._of_slice.begin(),
                    ]
                    m.next = "PREPARE"
            with m.State("PREPARE"):
                m.d.comb += prepare.eq(1)
                with m.If(self._residue == 0):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                self._begin_channel(m, next_row)
                m.next = "WALK"
                with m.If(nothing):
                    m.next = "END"
            with m.State("WALK"):
                with m.If(room):
                    m.d.sync += [
                        found.eq(self._jump.computed),
                        ends.eq(0),
                        index.eq(self._row_index + self._col),
                        line.eq(self._row_base),
                    ]
                    with m.If(next_col < layer.width):
                        m.d.sync += [self._col.eq(next_col), self._jump.eq(along)]
                    with m.Else():
                        m.d.sync += [
                            *self._begin_row(next_row),
                            self._row.eq(self._row + 1),
                            self._row_index.eq(self._row_index + layer.width),
                            self._row_base.eq(self._row_base + layer.row_step),
                        ]
                        with m.If(self._row + 1 == layer.height):
                            m.d.sync += self._below.eq(layer.residues[:RESIDUE_BITS])
                            m.next = "END"
            with m.State("END"):
                with m.If(room):
                    self._begin_channel(m, next_row)
                    m.d.sync += [
                        found.eq(1),
                        ends.eq(1),
                        self._channels_left.eq(self._channels_left - 1),
                    ]
                    with m.If(self._channels_left == 1):
                        m.next = "IDLE"
                    with m.Elif(~nothing):
                        m.next = "WALK"
        return m

    def _emit(
        self, m: Module, room: Value, found: Signal, ends: Signal, index: Signal, line: Signal
    ) -> None:
        """Makes items of the pixels found, in two stages: an address takes a product."""
        item = self.items.payload
        m.submodules.product = product = Multiplier(
            self._col.shape(), self.layer.col_step.shape(), holds_factors=False
        )
        m.d.comb += [
            product.a.eq(self._col),
            product.b.eq(self.layer.col_step),
            product.enable.eq(room),
        ]
        with m.If(room):
            m.d.sync += [
                found.eq(0),
                self.items.valid.eq(found),
                item.end.eq(ends),
                item.pixel.index.eq(index),
                item.pixel.base.eq(line + product.product),
            ]

    def _prepare_jumps(self, m: Module, prepare: Signal) -> tuple[data.View, data.View]:
        """Fills the table of jumps while `prepare` is high, from the last residue to the first.

        A jump from a residue is one longer than that from the next residue, if `I_s` does not have
        that one. Returns the jumps from where the present jump ends, and from the next row's start.
        """
        jumps: memory.Memory = memory.Memory(shape=_JUMP, depth=MAX_PERIOD, init=[])
        m.submodules.jumps = jumps
        distance = jumps.write_port()
        along = jumps.read_port(domain="comb")
        next_row = jumps.read_port(domain="comb")
        gap = Signal(range(MAX_PERIOD + 1))
        m.d.comb += [
            distance.en.eq(prepare),
            distance.addr.eq(self._residue),
            distance.data.computed.eq(self._pattern[-2]),
            distance.data.gap.eq(Mux(self._pattern[-1], 1, gap + 1)),
            distance.data.after.eq(
                _advance_residue(distance.addr, distance.data.gap, self.layer.period)
            ),
            along.addr.eq(self._jump.after),
            next_row.addr.eq(self._below),
        ]
        m.d.sync += [
            gap.eq(distance.data.gap),
            self._pattern.eq(self._pattern << 1),
            self._residue.eq(self._residue - 1),
        ]
        return along.data, next_row.data

    def _begin_row(self, next_row: data.View) -> list[Assign]:
        """Go to the next row's first pixel."""
        return [
            self._col.eq(0),
            self._jump.eq(next_row),
            self._below.eq(
                _advance_residue(self._below, self.layer.residues[RESIDUE_BITS:], self.layer.period)
            ),
        ]

    def _begin_channel(self, m: Module, next_row: data.View) -> None:
        """Go to the first pixel of `first_row`, in the slice that the channel reads."""
        m.d.sync += [
            *self._begin_row(next_row),
            self._row.eq(self.layer.first_row),
            self._row_index.eq(self.layer.restored),
            self._row_base.eq(self._channel_base),
            *self._of_slice.advance(),
        ]
        with m.If(self._of_slice.last):
            m.d.sync += self._channel_base.eq(self._channel_base + self.layer.slice_step)


def _advance_residue(residue: Value, by: ValueLike, period: Value) -> Value:
    """(residue + by) mod period, for residue < period and by <= period."""
    moved = residue + by
    return Mux(moved >= period, moved - period, moved)
