"""Region walk: brings the predictor a channel's activations, step after step.

A step is N positions of a row, side by side (`Config.predictor_positions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for, ceil_log2

from golden.pattern import MAX_PERIOD
from hw.contract.config import Config
from hw.contract.program import RESIDUE_BITS
from hw.layouts.descriptor import LayerDescriptor
from hw.predictor.depthwise import word_bits
from hw.predictor.lookahead import Lookahead

if TYPE_CHECKING:
    from amaranth.hdl._ast import Assign

__all__ = ["RegionWalk"]


class RegionWalk(wiring.Component):
    """Walks through the positions of a strip's region, in raster order.

    It goes two columns past each row and two rows past the last scored one, to flush the windows of
    the two convolutions; the last step of a row may hold further columns past it. At positions of
    `I_s` in the map it waits for their activations. They come one a cycle, so more of them in a
    step take as many cycles.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from two cycles before the first `begin` on, and during the walk.
    enable : In(1)
        The walk may go on in this cycle.
    idle : In(1)
        No channel is in work.
    begin : In(1)
        Go to a channel's first step in this cycle; only while `idle`.
    recalled : In(stream of u8)
        The channel's activations in the restored rows; those of `I_t` are taken and ignored.
    values : In(stream of u8)
        The channel's activations of `I_s` in the rows below.
    step : Out(1)
        The step is complete; the walk goes on if it is enabled.
    value : Out(8).array(N)
        The positions' activations, 0 where `I_s` does not have them.
    computed : Out(N)
        The positions that `I_s` has.
    word : Out(word)
        Number of the step in its row.
    word_before : Out(word)
        That of the step before.
    cols_in_map : Out(N)
        The positions whose columns are in the map.
    above_in_map : Out(1)
        The row above is in the map.
    hidden_in_map : Out(N)
        The positions whose column to the left is in the map: a hidden activation is made there.
    decides : Out(1)
        The step is complete, and scores of the row two above follow.
    decided_in_map : Out(N)
        The positions whose column two to the left is in the map: that one's score follows.
    scored : Out(1)
        The row two above is one of those that are scored.
    row_ends, channel_ends : Out(1)
        The step is the last of its row, and of the walk.
    """

    layer: data.View
    enable: Signal
    idle: Signal
    begin: Signal
    recalled: stream.Interface
    values: stream.Interface
    step: Signal
    value: list[Signal]
    computed: Signal
    word: Signal
    word_before: Signal
    cols_in_map: Signal
    above_in_map: Signal
    hidden_in_map: Signal
    decides: Signal
    decided_in_map: Signal
    scored: Signal
    row_ends: Signal
    channel_ends: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        self._positions = positions = config.predictor_positions
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "enable": In(1),
                "idle": In(1),
                "begin": In(1),
                "recalled": In(stream.Signature(unsigned(8))),
                "values": In(stream.Signature(unsigned(8))),
                "step": Out(1),
                "value": Out(8).array(positions),
                "computed": Out(positions),
                "word": Out(word_bits(config)),
                "word_before": Out(word_bits(config)),
                "cols_in_map": Out(positions),
                "above_in_map": Out(1),
                "hidden_in_map": Out(positions),
                "decides": Out(1),
                "decided_in_map": Out(positions),
                "scored": Out(1),
                "row_ends": Out(1),
                "channel_ends": Out(1),
            }
        )
        self._row = Signal(bits_for(config.ofm_words), name="row")
        # Flags of the position, kept in registers because much depends on them.
        self._running = Signal(name="running")
        self._restored = Signal(name="restored")  # the row
        self._row_in_map = Signal(name="row_in_map")
        self._scored_rows = Signal(3, name="scored_rows")  # the row, the one above, the next above
        self._last_row = Signal(name="last_row")
        # Of the two columns before the step, and of those of the step.
        self._in_map = Signal(positions + 2, name="in_map")
        # The pattern's bits here, its place at the next step, and at the next row's first one.
        self._in_pattern = Signal(positions, name="in_pattern")
        self._place = Signal(range(MAX_PERIOD), name="place")
        self._row_place = Signal(range(MAX_PERIOD), name="row_place")
        self._place_below = Signal(range(MAX_PERIOD), name="place_below")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.recalled = recalled = Lookahead(self._config)
        m.submodules.values = values = Lookahead(self._config)
        connect(m, flipped(self.recalled), recalled.i)
        connect(m, flipped(self.values), values.i)
        on_map = self.cols_in_map & self._row_in_map.replicate(self._positions)
        goes_on = self._running & self.enable
        m.d.comb += [
            self.cols_in_map.eq(self._in_map[2:]),
            self.hidden_in_map.eq(self._in_map[1:-1]),
            self.computed.eq(on_map & self._in_pattern),
            recalled.wanted.eq(Mux(self._restored, sum(on_map), 0)),
            values.wanted.eq(Mux(self._restored, 0, sum(self.computed))),
            recalled.take.eq(goes_on),
            values.take.eq(goes_on),
            self.step.eq(self._running & recalled.enough & values.enough),
            self.decided_in_map.eq(self._in_map[:-2]),
            self.decides.eq(self.step & self._row[1:].any()),
            self.scored.eq(self._scored_rows[2]),
            self.channel_ends.eq(self.step & self.row_ends & self._last_row),
        ]
        for place, value in enumerate(self.value):
            # Positions of the map are the first of a step; those of `I_s` may be any.
            of_pattern = Array(values.values)[sum(self.computed[:place], start=Const(0))]
            found = Mux(self._restored, recalled.values[place], of_pattern)
            m.d.comb += value.eq(Mux(self.computed[place], found, 0))
        follow_pattern = self._follow_pattern(m)
        with m.If(self.begin):
            m.d.sync += follow_pattern
            self._begin_channel(m)
        with m.If(self.step & self.enable):
            m.d.sync += follow_pattern
            self._go_on(m)
        return m

    def _follow_pattern(self, m: Module) -> list[Assign]:
        """Finds the pattern's bits at the step that follows, and its place at the ones after."""
        period = self.layer.period
        going_to = Signal(range(MAX_PERIOD))
        last_place = Signal(range(MAX_PERIOD), reset_less=True)
        below = going_to + self.layer.residues[RESIDUE_BITS:]
        m.d.sync += last_place.eq(period - 1)
        m.d.comb += [
            going_to.eq(Mux(self.idle, 0, Mux(self.row_ends, self._row_place, self._place))),
            self._place_below.eq(Mux(below > last_place, below - period, below)),
        ]
        place_after: Value = Mux(going_to == last_place, 0, going_to + 1)
        if self._positions > 1:
            ahead = Signal(range(self._positions + 1), reset_less=True)  # positions mod period
            m.d.sync += ahead.eq(self._positions)
            for short in range(1, self._positions + 1):
                with m.If(period == short):
                    m.d.sync += ahead.eq(self._positions % short)
            moved = going_to + ahead
            place_after = Mux(moved > last_place, moved - period, moved)
        return [
            self._in_pattern.eq(self.layer.pattern.bit_select(going_to, self._positions)),
            self._place.eq(place_after),
        ]

    def _first_columns(self) -> Value:
        """Columns of a row's first step that are in the map; a map has one column at least."""
        within = (self.layer.width > place for place in range(1, self._positions))
        return Cat(Const(0, 2), Const(1, 1), *within)

    def _begin_channel(self, m: Module) -> None:
        """Go to the first step of a channel."""
        layer = self.layer
        m.d.sync += [
            self._running.eq(1),
            self._restored.eq(layer.first_row != 0),
            self._row.eq(0),
            self._row_in_map.eq(1),
            self.above_in_map.eq(0),
            self._scored_rows.eq(layer.scored_row == 0),
            self._last_row.eq(0),
            self.word.eq(0),
            self._in_map.eq(self._first_columns()),
            self.row_ends.eq(0),
            self._row_place.eq(self._place_below),
        ]

    def _go_on(self, m: Module) -> None:
        """Go to the next step."""
        layer = self.layer
        following_word = Signal.like(self.word)
        bits = ceil_log2(self._positions)
        # Up to the word in which the map ends, each is full; there, its first columns are left.
        ends = following_word == layer.width[bits:]
        full = self._in_map[-1] & ~ends
        left = [ends & (layer.width[:bits] > place) for place in range(self._positions - 1)]
        columns = Cat(self._in_map[-2:], *(full | some for some in left), full)
        m.d.comb += following_word.eq(self.word + 1)
        m.d.sync += [
            self.word.eq(following_word),
            self.word_before.eq(self.word),
            self._in_map.eq(columns),
            # A row's last step is the first whose last two columns, or more, are past the map.
            self.row_ends.eq(~columns[-2]),
        ]
        with m.If(self.row_ends):
            following = Signal.like(self._row)
            m.d.comb += following.eq(self._row + 1)
            m.d.sync += [
                self._row.eq(following),
                self._row_in_map.eq(self._row_in_map & (following != layer.height)),
                self.above_in_map.eq(self._row_in_map),
                self._scored_rows.eq(
                    Cat(self._scored_rows[0] | (following == layer.scored_row), self._scored_rows)
                ),
                self._last_row.eq(self._row == layer.scored_end),
                self.word.eq(0),
                self._in_map.eq(self._first_columns()),
                self.row_ends.eq(0),
                self._row_place.eq(self._place_below),
                self._restored.eq(self._restored & (following != layer.first_row)),
            ]
            with m.If(self._last_row):
                m.d.sync += self._running.eq(0)
