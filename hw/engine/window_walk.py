"""Window walk: visits the pixels of an ofm bank in the order in which they are pooled and leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import Module, Signal
from amaranth.hdl import ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.contract.config import Config
from hw.layouts.descriptor import LayerDescriptor
from hw.lib.countdown import Countdown
from hw.lib.fsm import in_state

if TYPE_CHECKING:
    from amaranth.hdl._ast import Assign

__all__ = ["WindowWalk"]


class WindowWalk(wiring.Component):
    """Walks through the pooling windows in raster order, and through each window's taps.

    A layer without pooling has windows of one pixel. After the last window it walks through the
    spilled pixels of a strip, each of which is a window of its own. A tap takes a cycle, one
    outside the map too. An average keeps the walk at rest for `average_cycles` after its window.

    Parameters
    ----------
    average_cycles : int

    Members
    -------
    layer : In(LayerDescriptor)
        Stable while the walk goes on.
    go : In(1)
        Begin with a bank; ignored on the way.
    ready : In(1)
        There is room for another window.
    tap : Out(1)
        A tap is visited in this cycle.
    inside : Out(1)
        The tap is a pixel of the map.
    address : Out(ofm index)
        That of the tap, where it is inside.
    first, last : Out(1)
        The tap is its window's first or last.
    spilling : Out(1)
        The walk is at the spilled pixels.
    phase : Out(range(average_cycles + 1))
        Cycles since the window ended that is to be averaged.
    averaged : Out(1)
        `average_cycles` are over in this cycle.
    resting : Out(1)
        No tap is to come, but for windows after the average under way.
    done : Out(1)
        All taps of the bank have been visited.
    """

    layer: data.View
    go: Signal
    ready: Signal
    tap: Signal
    inside: Signal
    address: Signal
    first: Signal
    last: Signal
    spilling: Signal
    phase: Signal
    averaged: Signal
    resting: Signal
    done: Signal

    def __init__(self, config: Config, *, average_cycles: int) -> None:
        self._average_cycles = average_cycles
        index = ceil_log2(config.ofm_words)
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "go": In(1),
                "ready": In(1),
                "tap": Out(1),
                "inside": Out(1),
                "address": Out(index),
                "first": Out(1),
                "last": Out(1),
                "spilling": Out(1),
                "phase": Out(range(average_cycles + 1)),
                "averaged": Out(1),
                "resting": Out(1),
                "done": Out(1),
            }
        )
        coordinate = signed(bits_for(config.ofm_words) + 2)
        pool = self.layer.pool
        self._rows = Countdown(pool.height)
        self._cols = Countdown(pool.width)
        self._tap_rows = Countdown(pool.kernel_height)
        self._taps = Countdown(pool.kernel_width)
        # The window's upper left corner, and the tap; a line is the index of a row's first pixel.
        self._top = Signal(coordinate, name="top")
        self._left = Signal(coordinate, name="left")
        self._top_line = Signal(index, name="top_line")
        self._row = Signal(coordinate, name="row")
        self._col = Signal(coordinate, name="col")
        self._line = Signal(index, name="line")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = self.layer
        row, col, line = self._row, self._col, self._line
        reading = Signal()
        last_window = Signal()
        averages_last = Signal()
        m.d.comb += [
            self.last.eq(self._taps.last & self._tap_rows.last),
            last_window.eq(self._cols.last & self._rows.last),
            self.address.eq(line + col),
            self.inside.eq(
                self.tap & (row >= 0) & (row < layer.height) & (col >= 0) & (col < layer.width)
            ),
            self.resting.eq(~reading & ~self.spilling),
        ]
        with m.FSM() as walk:
            m.d.comb += [
                reading.eq(in_state(walk, "READ")),
                self.spilling.eq(in_state(walk, "SPILL")),
                self.tap.eq((reading | self.spilling) & self.ready),
                self.averaged.eq(
                    in_state(walk, "AVERAGE") & (self.phase == self._average_cycles - 1)
                ),
                self.done.eq(in_state(walk, "DONE")),
            ]
            with m.State("REST"):
                with m.If(self.go):
                    m.d.sync += self._first_window()
                    m.next = "READ"
            with m.State("READ"):
                with m.If(self.tap):
                    self._next_tap(m)
                    with m.If(self.last):
                        m.d.sync += averages_last.eq(last_window)
                        with m.If(layer.pool.average):
                            m.d.sync += self.phase.eq(0)
                            m.next = "AVERAGE"
                        with m.Elif(last_window):
                            self._end_windows(m)
            with m.State("AVERAGE"):
                m.d.sync += self.phase.eq(self.phase + 1)
                with m.If(self.averaged):
                    m.next = "READ"
                    with m.If(averages_last):
                        self._end_windows(m)
            with m.State("SPILL"):
                with m.If(self.tap):
                    m.d.sync += line.eq(line + 1)
                    with m.If(line == layer.pixels - 1):
                        m.next = "DONE"
            with m.State("DONE"):
                m.next = "REST"
        return m

    def _first_window(self) -> list[Assign]:
        """Go to the first tap of the first window."""
        pool = self.layer.pool
        counts = (self._rows, self._cols, self._tap_rows, self._taps)
        return [
            *(statement for count in counts for statement in count.begin()),
            self._top.eq(pool.top),
            self._top_line.eq(pool.first_line),
            *self._begin_window(pool.top, pool.first_line, pool.left),
        ]

    def _begin_window(self, top: ValueLike, top_line: ValueLike, left: ValueLike) -> list[Assign]:
        """Go to the first tap of the window with that corner."""
        return [
            self.first.eq(1),
            self._row.eq(top),
            self._line.eq(top_line),
            self._left.eq(left),
            self._col.eq(left),
        ]

    def _next_tap(self, m: Module) -> None:
        """Go to the window's next tap, or to the first of the next window."""
        pool = self.layer.pool
        m.d.sync += [self.first.eq(0), self._col.eq(self._col + 1), *self._taps.advance()]
        with m.If(self._taps.last):
            m.d.sync += [
                self._row.eq(self._row + 1),
                self._line.eq(self._line + self.layer.width),
                self._col.eq(self._left),
                *self._tap_rows.advance(),
            ]
        with m.If(self.last):
            m.d.sync += [
                *self._cols.advance(),
                *self._begin_window(self._top, self._top_line, self._left + pool.stride_width),
            ]
            with m.If(self._cols.last):
                below = self._top + pool.stride_height
                line_below = self._top_line + pool.line_step
                m.d.sync += [
                    *self._rows.advance(),
                    self._top.eq(below),
                    self._top_line.eq(line_below),
                    *self._begin_window(below, line_below, pool.left),
                ]

    def _end_windows(self, m: Module) -> None:
        """Go on to the spilled pixels, if there are any."""
        layer = self.layer
        m.next = "DONE"
        with m.If(layer.spilled != 0):
            m.d.sync += [
                self.first.eq(1),
                self._row.eq(0),
                self._col.eq(0),
                self._line.eq(layer.pixels - layer.spilled),
                self._taps.last.eq(1),
                self._tap_rows.last.eq(1),
            ]
            m.next = "SPILL"
