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

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
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
from hw.pipeline import clamp, delayed, round_shift
from hw.work import WorkItem

__all__ = ["LATENCY", "Predictor"]

_CONV_LATENCY = 5
"""Of `_Depthwise`, from a position to its sum."""
_HIDDEN_LATENCY = 3
"""From layer 1's sum to a hidden activation."""
LATENCY = 2 * _CONV_LATENCY + _HIDDEN_LATENCY + 2
"""Cycles from a channel's last position to its end mark, and on to the next channel."""

_ROWS = data.StructLayout({"above1": 8, "above2": 8})


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
        row_in_map, above_in_map = Signal(), Signal()
        scored_rows = Signal(3)  # this row, the one above, the one above that
        last_row, last_col = Signal(), Signal()
        restored = Signal()
        in_map = Signal()
        col_in_map = Signal()
        computed = Signal()
        step = Signal()
        top = Signal(MAX_PERIOD)
        pattern, pattern_at_decision = (_TurnedPattern(layer.pattern, top) for _ in range(2))
        last_in_map = Signal.like(layer.width)
        m.d.sync += [
            top.eq(Cat(layer.period == n + 1 for n in range(MAX_PERIOD))),
            last_in_map.eq(layer.width - 1),
        ]
        recalls = in_map & restored
        takes = computed & ~restored
        m.d.comb += [
            in_map.eq(row_in_map & col_in_map),
            computed.eq(in_map & pattern.here),
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
                *pattern.begin(),
                *pattern_at_decision.begin(),
                *(s.eq(layer.base) for s in (base, row_base)),
            ]
        with m.If(step & enable):
            m.d.sync += [
                col.eq(col + 1),
                col_in_map.eq(col_in_map & (col != last_in_map)),
                last_col.eq(~col_in_map & ~last_col),
                *pattern.advance(),
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
                    *pattern.advance_row(),
                    restored.eq(restored & (following != layer.first_row)),
                ]
                with m.If(last_row):
                    m.d.sync += running.eq(0)

        # Layer 1 runs one row and column behind the walk, layer 2 two.
        half = config.predictor_dsps // 2
        m.submodules.layer1 = layer1 = _Depthwise(
            config, bias_bits=arithmetic.BIAS1_BITS, dsps=half
        )
        m.submodules.layer2 = layer2 = _Depthwise(
            config, bias_bits=1, dsps=config.predictor_dsps - half
        )
        m.d.comb += [
            layer1.enable.eq(enable1),
            layer1.weights.eq(record.weight1),
            layer1.bias.eq(record.bias1),
            layer1.valid.eq(step),
            layer1.value.eq(Mux(computed, value, 0)),
            layer1.col.eq(col),
            layer1.col_in_map.eq(col_in_map),
            layer1.above_in_map.eq(above_in_map),
        ]
        hidden_delay = _CONV_LATENCY + _HIDDEN_LATENCY
        hidden_col_in_map = col.any() & ~last_col
        hidden = Signal(8, reset_less=True)
        shifted = round_shift(m, layer1.sum, record.shift1, enable)
        kept_hidden = delayed(m, above_in_map & hidden_col_in_map, hidden_delay - 1, enable)
        with m.If(enable):
            m.d.sync += hidden.eq(Mux(kept_hidden, clamp(shifted, arithmetic.U8), 0))
        valid2 = delayed(m, step, hidden_delay, enable)
        col2 = delayed(m, (col - 1)[: len(col)], hidden_delay, enable)
        m.d.comb += [
            layer2.enable.eq(enable2),
            layer2.weights.eq(record.weight2),
            layer2.bias.eq(0),
            layer2.valid.eq(valid2),
            layer2.value.eq(hidden),
            layer2.col.eq(col2),
            layer2.col_in_map.eq(delayed(m, hidden_col_in_map, hidden_delay, enable)),
            layer2.above_in_map.eq(1),  # before the map comes a row of zeros, from layer 1
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
            predicted.eq(enable & decide & scored & ~pattern_at_decision.here),
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
                    *pattern_at_decision.advance(),
                ]
                with m.If(row_ends):
                    m.d.sync += [
                        base.eq(row_base + layer.row_step),
                        row_base.eq(row_base + layer.row_step),
                        *pattern_at_decision.advance_row(),
                    ]
            with m.If(end):
                m.d.sync += idle.eq(1)
        return m


class _TurnedPattern:
    """The pattern at a position of a raster walk, turned so that no index is worked out.

    Parameters
    ----------
    pattern : Value
        Bits from that of the region's first position on.
    top : Signal(MAX_PERIOD)
        One bit, that of the period's last place.
    """

    def __init__(self, pattern: Value, top: Signal) -> None:
        self._pattern, self._top = pattern, top
        self._bits, self._row = Signal(MAX_PERIOD), Signal(MAX_PERIOD)
        self.here = self._bits[0]

    def begin(self) -> list:
        """Statements that go to the first position."""
        return [self._bits.eq(self._pattern), self._row.eq(self._pattern)]

    def advance(self) -> list:
        """Statements that go on by a column."""
        return [self._bits.eq(self._turned(self._bits))]

    def advance_row(self) -> list:
        """Statements that go to the next row's first column."""
        following = self._turned(self._row)
        return [self._bits.eq(following), self._row.eq(following)]

    def _turned(self, bits: Signal) -> Value:
        later = [*bits[1:], Const(0)]
        return Cat(Mux(last, bits[0], bit) for last, bit in zip(self._top, later, strict=True))


def _col_bits(config: Config) -> int:
    """Of a column's number, those counted that flush the windows."""
    return bits_for(config.row_pixels + 1)


def _product_in_logic(x, weight):
    """x * weight out of logic instead of a DSP block, two bits of the weight at a time."""
    multiples = (0, x, x << 1, x + (x << 1))
    low, middle, high = (Array(multiples)[weight[bit : bit + 2].as_unsigned()] for bit in (0, 2, 4))
    top = Array((0, x, -(x << 1), -x))[weight[6:8].as_unsigned()]
    return (low + (middle << 2)) + ((high + (top << 2)) << 4)


class _Depthwise(wiring.Component):
    """A depthwise 3x3 convolution over a stream of positions, two rows kept in a line buffer.

    After the step that brings position (row, col), `_CONV_LATENCY` enabled cycles later, `sum` is
    that of the window centred on (row - 1, col - 1). Columns outside the map must be stepped
    through, with `col_in_map` low, to bring in the padding; there are two after each row.
    `above_in_map` is low in the first row: the line buffer still holds rows of another channel.
    """

    def __init__(self, config: Config, *, bias_bits: int, dsps: int) -> None:
        self._config = config
        self._dsps = dsps
        super().__init__(
            {
                "enable": In(1),
                "weights": In(data.ArrayLayout(signed(8), 9)),
                "bias": In(signed(bias_bits)),
                "valid": In(1),
                "value": In(8),
                "col": In(_col_bits(config)),
                "col_in_map": In(1),
                "above_in_map": In(1),
                "sum": Out(signed(max(bias_bits, arithmetic.SCORE_BITS) + 1)),
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
        ]
        window = [
            [Signal(8, name=f"window_{r}_{c}", reset_less=True) for c in range(3)] for r in range(3)
        ]
        with m.If(self.enable & valid):
            for line, newest in zip(window, (above2, above1, value), strict=True):
                m.d.sync += [line[0].eq(line[1]), line[1].eq(line[2]), line[2].eq(newest)]
        # 2 .. 4: products, sums of three, sum of nine
        thirds = []
        for r, line in enumerate(window):
            products = [self._product(m, x, tap) for tap, x in enumerate(line, start=3 * r)]
            third = Signal(signed(18), name=f"third_{r}", reset_less=True)
            with m.If(self.enable):
                m.d.sync += third.eq(products[0] + products[1] + products[2])
            thirds.append(third)
        with m.If(self.enable):
            m.d.sync += self.sum.eq(thirds[0] + thirds[1] + thirds[2] + self.bias)
        return m

    def _product(self, m: Module, x, tap: int):
        """x times a weight, of the enabled cycle before."""
        weight = self.weights[tap]
        if tap >= self._dsps:
            product = Signal(signed(16), reset_less=True)
            with m.If(self.enable):
                m.d.sync += product.eq(_product_in_logic(x, weight))
            return product
        multiplier = Multiplier(unsigned(8), signed(8), holds_factors=False)
        m.submodules[f"product_{tap}"] = multiplier
        m.d.comb += [
            multiplier.enable.eq(self.enable),
            multiplier.a.eq(x),
            multiplier.b.eq(weight),
        ]
        return multiplier.product
