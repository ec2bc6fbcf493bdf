"""The ZAP predictor: which of the activations not yet computed are zero.

It reads the computed activations `I_s` of a channel in raster order, as the array finishes them,
and runs both depthwise 3x3 convolutions of the ZAP over them in one streaming pass (ZAP paper,
section 2.2). What leaves is the list of `I_t` pixels whose score exceeds the threshold: the
survivors, for the array to compute. Zero padding, rounding and widths are those of
`golden.layers.scores`.

A score needs its 5x5 neighbourhood, so decisions lag two rows and two columns behind the
activations. At a strip's edge those are activations of the rows beyond it, at the map's they are
zeros. Throughput: one position a cycle; a channel takes (scored_end + 2) * (width + 2) + `LATENCY`
cycles, more where its activations are not there yet or its survivors are not taken.
"""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from golden import arithmetic
from golden.pattern import MAX_PERIOD
from hw.config import Config
from hw.copies import copies
from hw.descriptor import LayerDescriptor, PredictorRecord
from hw.multiplier import Multiplier
from hw.pipeline import delayed
from hw.work import WorkItem

__all__ = ["LATENCY", "Predictor"]

_CONV_LATENCY = 5
"""Of `_Depthwise`, from a position to its sum."""
_HIDDEN_LATENCY = 3
"""From layer 1's sum to a hidden activation."""
LATENCY = 2 * _CONV_LATENCY + _HIDDEN_LATENCY + 2
"""Cycles from a channel's last position to its end mark, and on to the next channel."""

_ROWS = data.StructLayout({"above1": 8, "above2": 8, "mark1": 1})


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
    survivors : Out(stream of WorkItem)
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
                "survivors": Out(stream.Signature(WorkItem(config))),
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
        decided = Signal(WorkItem(config))
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
        enable, enable1, enable2 = copies(m, platform, ~will_hold, 3)

        record = Signal(PredictorRecord(), reset_less=True)

        # The walk: positions of the region, and two rows and columns more than are scored, to flush
        # the windows. Where it is decides a lot, so that is kept in flags and not compared anew.
        running = Signal()
        idle = Signal(init=1)
        row = Signal(pixels)
        col = Signal(_col_bits(config))
        col_before = Signal.like(col)
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
        dsps, tables = config.predictor_dsps, config.predictor_tables
        m.submodules.layer1 = layer1 = _Depthwise(config, dsps=dsps // 2, tables=-(-tables // 2))
        m.submodules.layer2 = layer2 = _Depthwise(config, dsps=-(-dsps // 2), tables=tables // 2)
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
        hidden_delay = _CONV_LATENCY + _HIDDEN_LATENCY
        hidden_col_in_map = col.any() & ~last_col
        biased = Signal(signed(len(record.offset1) + 1), reset_less=True)
        shifted = Signal(arithmetic.HIDDEN_BITS, reset_less=True)
        over, negative = Signal(), Signal()
        hidden = Signal.like(shifted)
        low, above = _shift_within(m, biased[:-1], record.shift1, len(shifted))
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
        decide_delay = hidden_delay + _CONV_LATENCY
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


def _col_bits(config: Config) -> int:
    """Of a column's number, those counted that flush the windows."""
    return bits_for(config.row_pixels + 1)


def _shift_within(m: Module, value, shift, bits: int):
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


def _product_in_logic(x, weight):
    """x * weight, two bits of the weight at a time."""
    multiples = (0, x, x << 1, x + (x << 1))
    low, middle, high = (Array(multiples)[weight[bit : bit + 2].as_unsigned()] for bit in (0, 2, 4))
    top = Array((0, x, -(x << 1), -x))[weight[6:8].as_unsigned()]
    return (low + (middle << 2)) + ((high + (top << 2)) << 4)


_OLDEST_TAPS = (0, 3, 6)
"""Of a 3x3 kernel, row-major: those of the column whose values are in the window the longest."""


class _Depthwise(wiring.Component):
    """A depthwise 3x3 convolution over a stream of positions, two rows kept in a line buffer.

    After the step that brings position (row, col), `_CONV_LATENCY` enabled cycles later, `sum` is
    that of the window centred on (row - 1, col - 1). Columns outside the map must be stepped
    through, with `col_in_map` low, to bring in the padding; there are two after each row.
    `above_in_map` is low in the first row: the line buffer still holds rows of another channel.
    A position's `mark` comes out, as `sum_mark`, with the sum of the window around it.
    """

    def __init__(self, config: Config, *, dsps: int, tables: int) -> None:
        self._config = config
        in_tables = _OLDEST_TAPS[:tables]
        self._in_tables = in_tables
        self._in_dsps = [tap for tap in range(9) if tap not in in_tables][:dsps]
        super().__init__(
            {
                "enable": In(1),
                "weights": In(data.ArrayLayout(signed(8), 9)),
                "valid": In(1),
                "value": In(8),
                "col": In(_col_bits(config)),
                "col_in_map": In(1),
                "above_in_map": In(1),
                "mark": In(1),
                "sum_mark": Out(1),
                "sum": Out(signed(arithmetic.SCORE_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lines = memory.Memory(shape=_ROWS, depth=config.row_pixels, init=[])
        m.submodules.lines = lines
        read = lines.read_port()
        write = lines.write_port()

        # 1: the new column of the window; its upper two pixels come from the line buffer
        valid = delayed(m, self.valid, 1, self.enable)
        value = delayed(m, self.value, 1, self.enable)
        in_map = delayed(m, self.col_in_map, 1, self.enable)
        above_in_map = delayed(m, self.above_in_map, 1, self.enable)
        above1 = Mux(in_map & above_in_map, read.data.above1, 0)
        above2 = Mux(in_map, read.data.above2, 0)
        m.d.comb += [
            read.en.eq(self.enable),
            read.addr.eq(self.col),
            write.en.eq(valid & in_map & self.enable),
            write.addr.eq(delayed(m, self.col, 1, self.enable)),
            write.data.above1.eq(value),
            write.data.above2.eq(above1),
            write.data.mark1.eq(delayed(m, self.mark, 1, self.enable)),
        ]
        window = [
            [Signal(8, name=f"window_{r}_{c}", reset_less=True) for c in range(3)] for r in range(3)
        ]
        marks = Signal(2)  # of the window's middle row, the newest column first
        m.d.comb += self.sum_mark.eq(delayed(m, marks[1], _CONV_LATENCY - 2, self.enable))
        shifts = self.enable & valid
        with m.If(shifts):
            m.d.sync += marks.eq(Cat(read.data.mark1, marks))
            for line, newest in zip(window, (above2, above1, value), strict=True):
                m.d.sync += [line[0].eq(line[1]), line[1].eq(line[2]), line[2].eq(newest)]
        # 2 .. 4: products, sums of three, sum of nine
        thirds = []
        for r, line in enumerate(window):
            products = [self._product(m, line, 3 * r + col, shifts) for col in range(3)]
            third = Signal(signed(18), name=f"third_{r}", reset_less=True)
            with m.If(self.enable):
                m.d.sync += third.eq(products[0] + products[1] + products[2])
            thirds.append(third)
        with m.If(self.enable):
            m.d.sync += self.sum.eq(thirds[0] + thirds[1] + thirds[2])
        return m

    def _product(self, m: Module, line: list[Signal], tap: int, shifts):
        """The product of a tap in a row of the window, of the enabled cycle before."""
        x, weight = line[tap % 3], self.weights[tap]
        if tap in self._in_dsps:
            multiplier = Multiplier(unsigned(8), signed(8), holds_factors=False)
            m.submodules[f"product_{tap}"] = multiplier
            m.d.comb += [
                multiplier.enable.eq(self.enable),
                multiplier.a.eq(x),
                multiplier.b.eq(weight),
            ]
            return multiplier.product
        if tap in self._in_tables:
            x_later = line[2]  # it is in the oldest column when it has shifted twice
            terms = _quarter_squares(m, tap, x_later, weight, shifts)
            value = terms[0] - terms[1]
        else:
            value = _product_in_logic(x, weight)
        product = Signal(signed(16), name=f"product_{tap}", reset_less=True)
        with m.If(self.enable):
            m.d.sync += product.eq(value)
        return product


def _quarter_squares(m: Module, tap: int, x, weight, shifts):
    """(x + weight)**2 / 4 and (x - weight)**2 / 4, rounded down alike, of two shifts before.

    Their difference is x * weight. One block RAM holds them all: of -128 to 383, modulo 512.
    """
    low, high = arithmetic.S8[0], arithmetic.U8[1] - arithmetic.S8[0]
    places = range(low, high + 1)
    m.submodules[f"squares_{tap}"] = squares = memory.Memory(
        shape=unsigned(16),
        depth=len(places),
        init=[n * n // 4 for n in (*places[-low:], *places[:-low])],
    )
    terms = []
    for argument in (x + weight, x - weight):
        port = squares.read_port()
        term = Signal.like(port.data, reset_less=True)
        m.d.comb += [port.addr.eq(argument), port.en.eq(shifts)]
        with m.If(shifts):
            m.d.sync += term.eq(port.data)
        terms.append(term)
    return terms
