"""One depthwise 3x3 convolution of a ZAP, over a stream of positions.

Its nine multipliers are of three kinds, so that they fit what an FPGA has left: DSP blocks, squares
looked up in block RAM, and logic (`Config.predictor_dsps`, `Config.predictor_tables`). A product of
any kind is there a cycle after its value is in the window.
"""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from golden import arithmetic
from hw.contract.config import Config
from hw.lib.multiplier import Multiplier
from hw.lib.pipeline import delayed

__all__ = ["LATENCY", "ROWS", "SQUARES", "Depthwise", "col_bits"]

LATENCY = 5
"""Enabled cycles from a position to its sum."""

ROWS = data.StructLayout({"above1": 8, "above2": 8, "mark1": 1})
"""The line buffer's entry for a column: the values one and two rows up, and the mark one row up."""

SQUARES = (16, 512)
"""Width and depth of a table of squares."""

_OLDEST_TAPS = (0, 3, 6)
"""The taps, row-major, of the column whose values have been in the window the longest."""


def col_bits(config: Config) -> int:
    """Width of a column's number; the columns that flush the windows are counted too."""
    return bits_for(config.row_pixels + 1)


class Depthwise(wiring.Component):
    """A depthwise 3x3 convolution over a stream of positions, with two rows in a line buffer.

    `LATENCY` enabled cycles after the step that brings position (row, col), `sum` is that of the
    window centred on (row - 1, col - 1).

    Parameters
    ----------
    dsps, tables : int
        Multipliers that are DSP blocks, and that are tables of squares; the rest is logic.

    Members
    -------
    enable : In(1)
        Everything stands still while it is low.
    weights : In(s8).array(9)
        The kernel, row-major. They may change when the two columns after a row have been stepped
        through: the window is zero then.
    valid : In(1)
        A step: `value`, `col`, `col_in_map`, `above_in_map` and `mark` are those of a position.
    value : In(u8)
    col : In(column)
    col_in_map : In(1)
        The column is in the map. Two columns that are not follow each row, to bring in the padding.
    above_in_map : In(1)
        Low in the map's first row, where the line buffer holds rows of another channel.
    mark : In(1), sum_mark : Out(1)
        A position's mark comes out with the sum of the window centred on it. Outside the map it
        means nothing.
    sum : Out(signed)
    """

    enable: Signal
    weights: data.View
    valid: Signal
    value: Signal
    col: Signal
    col_in_map: Signal
    above_in_map: Signal
    mark: Signal
    sum_mark: Signal
    sum: Signal

    def __init__(self, config: Config, *, dsps: int, tables: int) -> None:
        self._config = config
        in_tables = _OLDEST_TAPS[:tables]
        self._in_tables = in_tables
        self._in_dsps = [tap for tap in range(9) if tap not in in_tables][:dsps]
        assert (len(in_tables), len(self._in_dsps)) == (tables, dsps)
        super().__init__(
            {
                "enable": In(1),
                "weights": In(data.ArrayLayout(signed(8), 9)),
                "valid": In(1),
                "value": In(8),
                "col": In(col_bits(config)),
                "col_in_map": In(1),
                "above_in_map": In(1),
                "mark": In(1),
                "sum_mark": Out(1),
                "sum": Out(signed(arithmetic.SCORE_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        lines: memory.Memory = memory.Memory(shape=ROWS, depth=config.row_pixels, init=[])
        m.submodules.lines = lines
        read = lines.read_port()
        write = lines.write_port()

        # Cycle 1: the new column of the window; its upper two pixels come from the line buffer.
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
        marks = Signal(2, reset_less=True)  # of the window's middle row, newest column first
        m.d.comb += self.sum_mark.eq(delayed(m, marks[1], LATENCY - 2, self.enable))
        shifts = self.enable & valid
        with m.If(shifts):
            m.d.sync += marks.eq(Cat(read.data.mark1, marks))
            for line, newest in zip(window, (above2, above1, value), strict=True):
                m.d.sync += [line[0].eq(line[1]), line[1].eq(line[2]), line[2].eq(newest)]
        # Cycles 2 to 4: products, sums of three, sum of nine.
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

    def _product(self, m: Module, line: list[Signal], tap: int, shifts: Value) -> Value:
        """The product of a tap, whose row of the window is `line`, of the enabled cycle before."""
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
            newest = line[2]  # it is x two shifts later, when its squares have come
            terms = _quarter_squares(m, tap, newest, weight, shifts)
            value = terms[0] - terms[1]
        else:
            value = _product_in_logic(x, weight)
        product = Signal(signed(16), name=f"product_{tap}", reset_less=True)
        with m.If(self.enable):
            m.d.sync += product.eq(value)
        return product


def _product_in_logic(x: Value, weight: Value) -> Value:
    """x * weight, two bits of the weight at a time."""
    multiples = (0, x, x << 1, x + (x << 1))
    low, middle, high = (Array(multiples)[weight[bit : bit + 2].as_unsigned()] for bit in (0, 2, 4))
    top = Array((0, x, -(x << 1), -x))[weight[6:8].as_unsigned()]
    return (low + (middle << 2)) + ((high + (top << 2)) << 4)


def _quarter_squares(
    m: Module, tap: int, x: Value, weight: Value, shifts: Value
) -> tuple[Value, Value]:
    """(x + weight)**2 / 4 and (x - weight)**2 / 4, both rounded down, two shifts later.

    Their difference is x * weight. One block RAM holds all such squares: those of -128 to 383, at
    addresses modulo 512.
    """
    bits, depth = SQUARES
    least = arithmetic.S8[0]
    squares = [n * n // 4 for n in (*range(depth + least), *range(least, 0))]
    table: memory.Memory = memory.Memory(shape=unsigned(bits), depth=depth, init=squares)
    m.submodules[f"squares_{tap}"] = table
    terms: list[Value] = []
    for argument in (x + weight, x - weight):
        port = table.read_port()
        term = Signal.like(port.data, reset_less=True)
        m.d.comb += [port.addr.eq(argument), port.en.eq(shifts)]
        with m.If(shifts):
            m.d.sync += term.eq(port.data)
        terms.append(term)
    return terms[0], terms[1]
