"""Region walk: brings the predictor a channel's activations, position after position."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from golden.pattern import MAX_PERIOD
from hw.contract.config import Config
from hw.layouts.descriptor import LayerDescriptor
from hw.predictor.depthwise import col_bits

__all__ = ["RegionWalk"]


class RegionWalk(wiring.Component):
    """Walks through the positions of a strip's region, in raster order.

    It goes two columns past each row and two rows past the last scored one, to flush the windows of
    the two convolutions. At a position of `I_s` in the map it waits for its activation.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from two cycles before the first `begin` on, and during the walk.
    enable : In(1)
        The walk may go on in this cycle.
    idle : In(1)
        No channel is in work.
    begin : In(1)
        Go to a channel's first position in this cycle; only while `idle`.
    recalled : In(stream of u8)
        The channel's activations in the restored rows; those of `I_t` are taken and ignored.
    values : In(stream of u8)
        The channel's activations of `I_s` in the rows below.
    step : Out(1)
        The position is complete; the walk goes on if it is enabled.
    value : Out(8)
        Its activation, 0 where `I_s` does not have it.
    computed : Out(1)
        `I_s` has the position.
    col : Out(column)
    col_before : Out(column)
        That of the position before.
    col_in_map, above_in_map : Out(1)
        The position's column, and the row above it, are in the map.
    hidden_in_map : Out(1)
        The column to the left is in the map: that is where a hidden activation is made.
    decides : Out(1)
        The position two rows above and two columns to the left is in the map: its score follows.
    scored : Out(1)
        The row two above is one of those that are scored.
    row_ends, channel_ends : Out(1)
        The position is the last of its row, and of the walk.
    """

    layer: data.View
    enable: Signal
    idle: Signal
    begin: Signal
    recalled: stream.Interface
    values: stream.Interface
    step: Signal
    value: Signal
    computed: Signal
    col: Signal
    col_before: Signal
    col_in_map: Signal
    above_in_map: Signal
    hidden_in_map: Signal
    decides: Signal
    scored: Signal
    row_ends: Signal
    channel_ends: Signal

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "enable": In(1),
                "idle": In(1),
                "begin": In(1),
                "recalled": In(stream.Signature(unsigned(8))),
                "values": In(stream.Signature(unsigned(8))),
                "step": Out(1),
                "value": Out(8),
                "computed": Out(1),
                "col": Out(col_bits(config)),
                "col_before": Out(col_bits(config)),
                "col_in_map": Out(1),
                "above_in_map": Out(1),
                "hidden_in_map": Out(1),
                "decides": Out(1),
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
        # The pattern's bit here, its place at the next position, and at the next row's first one.
        self._in_pattern = Signal(name="in_pattern")
        self._place = Signal(range(MAX_PERIOD), name="place")
        self._row_place = Signal(range(MAX_PERIOD), name="row_place")
        self._place_after = Signal(range(MAX_PERIOD), name="place_after")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = self.layer
        in_map = Signal()
        recalls = in_map & self._restored
        takes = self.computed & ~self._restored
        recalled_or_none = ~recalls | self.recalled.valid
        value_or_none = ~takes | self.values.valid
        value = Mux(self._restored, self.recalled.payload, self.values.payload)
        m.d.comb += [
            in_map.eq(self._row_in_map & self.col_in_map),
            self.computed.eq(in_map & self._in_pattern),
            self.step.eq(self._running & recalled_or_none & value_or_none),
            self.recalled.ready.eq(self._running & recalls & self.enable),
            self.values.ready.eq(self._running & takes & self.enable),
            self.value.eq(Mux(self.computed, value, 0)),
            self.hidden_in_map.eq(self.col.any() & ~self.row_ends),
            self.decides.eq(self.step & self._row[1:].any() & self.col[1:].any()),
            self.scored.eq(self._scored_rows[2]),
            self.channel_ends.eq(self.step & self.row_ends & self._last_row),
        ]
        going_to = Signal(range(MAX_PERIOD))
        last_place = Signal(range(MAX_PERIOD), reset_less=True)
        m.d.sync += last_place.eq(layer.period - 1)
        m.d.comb += [
            going_to.eq(Mux(self.idle, 0, Mux(self.row_ends, self._row_place, self._place))),
            self._place_after.eq(Mux(going_to == last_place, 0, going_to + 1)),
        ]
        follow_pattern = [
            self._in_pattern.eq(layer.pattern.bit_select(going_to, 1)),
            self._place.eq(self._place_after),
        ]
        with m.If(self.begin):
            m.d.sync += follow_pattern
            self._begin_channel(m)
        with m.If(self.step & self.enable):
            m.d.sync += follow_pattern
            self._go_on(m)
        return m

    def _begin_channel(self, m: Module) -> None:
        """Go to the first position of a channel."""
        layer = self.layer
        m.d.sync += [
            self._running.eq(1),
            self._restored.eq(layer.first_row != 0),
            self._row.eq(0),
            self._row_in_map.eq(1),
            self.above_in_map.eq(0),
            self._scored_rows.eq(layer.scored_row == 0),
            self._last_row.eq(0),
            self.col.eq(0),
            self.col_in_map.eq(1),
            self.row_ends.eq(0),
            self._row_place.eq(self._place_after),
        ]

    def _go_on(self, m: Module) -> None:
        """Go to the next position."""
        layer = self.layer
        following_col = Signal.like(self.col)
        m.d.comb += following_col.eq(self.col + 1)
        m.d.sync += [
            self.col.eq(following_col),
            self.col_before.eq(self.col),
            self.col_in_map.eq(self.col_in_map & (following_col != layer.width)),
            self.row_ends.eq(~self.col_in_map & ~self.row_ends),
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
                self.col.eq(0),
                self.col_in_map.eq(1),
                self._row_place.eq(self._place_after),
                self._restored.eq(self._restored & (following != layer.first_row)),
            ]
            with m.If(self._last_row):
                m.d.sync += self._running.eq(0)
