"""The ZAP predictor: which of the activations not yet computed are zero.

It reads the computed activations `I_s` of a channel in raster order, as the array finishes them,
and runs both depthwise 3x3 convolutions of the ZAP over them in one streaming pass (ZAP paper,
section 2.2). What leaves is the list of `I_t` pixels whose score exceeds the threshold: the
survivors, for the array to compute. Zero padding, rounding and widths are those of
`golden.layers.scores`.

A score needs its 5x5 neighbourhood, so decisions lag two rows and two columns behind the
activations. At a strip's edge those are activations of the rows beyond it, at the map's they are
zeros. Throughput: one position a cycle; a channel takes (scored_end + 2) * (width + 2) +
`PREDICTOR_LATENCY` cycles, more where its activations are not there yet or its survivors are not
taken.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from golden import arithmetic
from golden.pattern import MAX_PERIOD
from hw.contract.config import Config
from hw.contract.timing import PREDICTOR_LATENCY
from hw.layouts.descriptor import LayerDescriptor, PredictorRecord
from hw.layouts.pixels import PixelOrEnd
from hw.lib.pipeline import delayed
from hw.lib.register_copies import register_copies
from hw.predictor import depthwise
from hw.predictor.depthwise import Depthwise, col_bits

__all__ = ["Predictor", "shift_within"]

_HIDDEN_LATENCY = 3
"""From layer 1's sum to a hidden activation."""


class Predictor(wiring.Component):
    """Scores one channel after another.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from two cycles before the first record on, and while a channel is in work.
    records : In(stream of PredictorRecord)
        One for each channel, taken when the channel before has left.
    recalled : In(stream of u8)
        What each channel has in the restored rows, in raster order; counts on `I_s` only.
    values : In(stream of u8)
        The activations of `I_s` in the rows below, in raster order, channel after channel.
    survivors : Out(stream of PixelOrEnd)
        In raster order, an end mark after each channel.
    kept, skipped : Out(1)
        A position of `I_t` was decided in this cycle, and how.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "records": In(stream.Signature(PredictorRecord())),
                "recalled": In(stream.Signature(unsigned(8))),
                "values": In(stream.Signature(unsigned(8))),
                "survivors": Out(stream.Signature(PixelOrEnd(config))),
                "kept": Out(1),
                "skipped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        layer = self.layer
        pixels = bits_for(config.ofm_words)
        address = ceil_log2(config.ifm_words)
        # What has been decided waits in a second register where the first is not taken, so that
        # all that stands still then is told so by registers.
        decided = Signal(PixelOrEnd(config))
        decides, holds, will_hold = Signal(), Signal(), Signal()
        held = Signal.like(decided, reset_less=True)
        free = ~self.survivors.valid | self.survivors.ready
        m.d.comb += will_hold.eq(~free & (holds | decides))
        m.d.sync += holds.eq(will_hold)
        with m.If(~holds):
            m.d.sync += held.eq(decided)
        with m.If(free):
            m.d.sync += [
                self.survivors.valid.eq(holds | decides),
                self.survivors.payload.eq(Mux(holds, held, decided)),
            ]
        enable, enable1, enable2 = register_copies(m, platform, ~will_hold, 3)

        record = Signal(PredictorRecord(), reset_less=True)

        # The walk: positions of the region, and two rows and columns more than are scored, to flush
        # the windows. Where it is decides a lot, so that is kept in flags and not compared anew.
        running = Signal()
        idle = Signal(init=1)
        row = Signal(pixels)
        col = Signal(col_bits(config))
        col_before = Signal.like(col)  # layer 2 is a column behind
        row_in_map, above_in_map = Signal(), Signal()
        scored_rows = Signal(3)  # this row, the one above, the one above that
        last_row, last_col = Signal(), Signal()
        restored = Signal()
        in_map = Signal()
        col_in_map = Signal()
        computed = Signal()
        step = Signal()
        # The pattern's bit here, its place at the next position and at the next row's first one.
        in_pattern = Signal()
        place = Signal(range(MAX_PERIOD))
        row_place = Signal.like(place)
        last_place = Signal.like(place, reset_less=True)
        going_to, place_after = Signal.like(place), Signal.like(place)
        goes_on = [in_pattern.eq(layer.pattern.bit_select(going_to, 1)), place.eq(place_after)]
        m.d.comb += [
            going_to.eq(Mux(idle, 0, Mux(last_col, row_place, place))),
            place_after.eq(Mux(going_to == last_place, 0, going_to + 1)),
        ]
        m.d.sync += last_place.eq(layer.period - 1)
        recalls = in_map & restored
        takes = computed & ~restored
        m.d.comb += [
            in_map.eq(row_in_map & col_in_map),
            computed.eq(in_map & in_pattern),
            step.eq(running & (~recalls | self.recalled.valid) & (~takes | self.values.valid)),
            self.recalled.ready.eq(running & recalls & enable),
            self.values.ready.eq(running & takes & enable),
            self.records.ready.eq(idle),
        ]
        value = Mux(restored, self.recalled.payload, self.values.payload)
        # Where the next decision is: counted again, as that is where it is needed.
        index = Signal(pixels)
        base = Signal(address)
        row_base = Signal(address)
        with m.If(idle & self.records.valid):
            m.d.sync += [
                idle.eq(0),
                running.eq(1),
                record.eq(self.records.payload),
                restored.eq(layer.first_row != 0),
                row_in_map.eq(1),
                scored_rows.eq(layer.scored_row == 0),
                col_in_map.eq(1),
                *(s.eq(0) for s in (row, col, above_in_map, last_row, last_col, index)),
                *goes_on,
                row_place.eq(place_after),
                *(s.eq(layer.base) for s in (base, row_base)),
            ]
        with m.If(step & enable):
            following_col = Signal.like(col)
            m.d.comb += following_col.eq(col + 1)
            m.d.sync += [
                col.eq(following_col),
                col_before.eq(col),
                col_in_map.eq(col_in_map & (following_col != layer.width)),
                last_col.eq(~col_in_map & ~last_col),
                *goes_on,
            ]
            with m.If(last_col):
                following = Signal.like(row)
                m.d.comb += following.eq(row + 1)
                m.d.sync += [
                    row.eq(following),
                    row_in_map.eq(row_in_map & (following != layer.height)),
                    above_in_map.eq(row_in_map),
                    scored_rows.eq(
                        Cat(scored_rows[0] | (following == layer.scored_row), scored_rows)
                    ),
                    last_row.eq(row == layer.scored_end),
                    col.eq(0),
                    col_in_map.eq(1),
                    row_place.eq(place_after),
                    restored.eq(restored & (following != layer.first_row)),
                ]
                with m.If(last_row):
                    m.d.sync += running.eq(0)

        # Layer 1 runs one row and column behind the walk, layer 2 two.
        # Rounded opposite ways: neither layer is asked for more than its nine products.
        dsps, tables = config.predictor_dsps, config.predictor_tables
        m.submodules.layer1 = layer1 = Depthwise(config, dsps=dsps // 2, tables=-(-tables // 2))
        m.submodules.layer2 = layer2 = Depthwise(config, dsps=-(-dsps // 2), tables=tables // 2)
        m.d.comb += [
            layer1.enable.eq(enable1),
            layer1.weights.eq(record.weight1),
            layer1.valid.eq(step),
            layer1.value.eq(Mux(computed, value, 0)),
            layer1.col.eq(col),
            layer1.col_in_map.eq(col_in_map),
            layer1.above_in_map.eq(above_in_map),
            layer1.mark.eq(computed),
        ]
        hidden_delay = depthwise.LATENCY + _HIDDEN_LATENCY
        hidden_col_in_map = col.any() & ~last_col
        biased = Signal.like(record.offset1, reset_less=True)  # |sum| + |offset1| < 2**20
        shifted = Signal(arithmetic.HIDDEN_BITS, reset_less=True)
        over, negative = Signal(reset_less=True), Signal(reset_less=True)
        hidden = Signal.like(shifted)
        low, above = shift_within(m, biased[:-1], record.shift1, len(shifted))
        kept_hidden = delayed(m, above_in_map & hidden_col_in_map, hidden_delay - 1, enable)
        with m.If(enable):
            m.d.sync += [
                biased.eq(layer1.sum + record.offset1),
                shifted.eq(low),
                over.eq(above),
                negative.eq(biased[-1]),
                hidden.eq(Mux(kept_hidden & ~negative, shifted | over.replicate(len(hidden)), 0)),
            ]
        valid2 = delayed(m, step, hidden_delay, enable)
        col2 = delayed(m, col_before, hidden_delay, enable)
        m.d.comb += [
            layer2.enable.eq(enable2),
            layer2.weights.eq(record.weight2),
            layer2.valid.eq(valid2),
            layer2.value.eq(hidden),
            layer2.col.eq(col2),
            layer2.col_in_map.eq(delayed(m, hidden_col_in_map, hidden_delay, enable)),
            layer2.above_in_map.eq(1),  # before the map comes a row of zeros, from layer 1
            layer2.mark.eq(delayed(m, layer1.sum_mark, _HIDDEN_LATENCY, enable)),
        ]

        # Decide.
        decide_delay = hidden_delay + depthwise.LATENCY
        assert decide_delay + 2 == PREDICTOR_LATENCY, "then the end mark, and the next channel"
        decide = delayed(m, step & row[1:].any() & col[1:].any(), decide_delay, enable)
        scored = delayed(m, scored_rows[2], decide_delay, enable)
        row_ends = delayed(m, last_col, decide_delay, enable)
        channel_ends = delayed(m, step & last_col & last_row, decide_delay, enable)
        end = Signal()
        predicted = Signal()
        survives = Signal()
        m.d.comb += [
            predicted.eq(enable & decide & scored & ~layer2.sum_mark),
            survives.eq(layer2.sum > record.threshold),
            self.kept.eq(predicted & survives),
            self.skipped.eq(predicted & ~survives),
            decides.eq(self.kept | (enable & end)),
            decided.end.eq(end),
            decided.pixel.index.eq(index),
            decided.pixel.base.eq(base),
        ]
        with m.If(enable):
            m.d.sync += end.eq(channel_ends)
            with m.If(decide):
                m.d.sync += [
                    index.eq(index + 1),
                    base.eq(base + layer.col_step),
                ]
                with m.If(row_ends):
                    m.d.sync += [
                        base.eq(row_base + layer.row_step),
                        row_base.eq(row_base + layer.row_step),
                    ]
            with m.If(end):
                m.d.sync += idle.eq(1)
        return m


def shift_within(m: Module, value, shift, bits: int):
    """The low bits of value >> shift, and whether there are ones above them.

    The longest step comes first: it leaves the fewest bits for the others.
    """
    over = 0
    for step in reversed(range(len(shift))):
        moved = Signal.like(value, name=f"moved_{step}")
        m.d.comb += moved.eq(Mux(shift[step], value >> (1 << step), value))
        left = bits + (1 << step) - 1
        value, past = moved[:left], moved[left:]
        over |= past.any()
    return value, over
