"""One depthwise 3x3 convolution of a ZAP, over a stream of positions.

A step brings N positions of a row side by side (`Config.predictor_positions`). A word of the line
buffer holds what two rows above have at as many columns, so one read and one write a step serve
them all, and the window is N + 2 columns wide: N kernels overlap in it.

The nine multipliers of a kernel are of three kinds, so that they fit what an FPGA has left: DSP
blocks, squares looked up in block RAM, and logic (`Config.predictor_dsps`,
`Config.predictor_tables`). A product of any kind is there a cycle after its value is in the window.
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

__all__ = ["LATENCY", "ROWS", "SQUARES", "Depthwise", "line_words", "word_bits"]

LATENCY = 5
"""Enabled cycles from a step to its sums."""

ROWS = data.StructLayout({"above1": 8, "above2": 8, "mark1": 1})
"""The line buffer's entry for a column: the values one and two rows up, and the mark one row up."""

SQUARES = (16, 512)
"""Width and depth of a table of squares."""

_OLDEST_TAPS = (0, 3, 6)
"""The taps, row-major, of the column whose values have been in the window the longest."""


def word_bits(config: Config) -> int:
    """Width of the number of a step in its row, where those that flush the windows count too."""
    return bits_for((config.row_pixels + 1) // config.predictor_positions)


def line_words(config: Config) -> tuple[int, int]:
    """Words of the line buffers of the first and the second convolution.

    The columns of the second lie one to the left of those of the first. With one column in a word,
    its words are numbered as much lower; with several, a row may reach into one word more.
    """
    words = config.row_pixels // config.predictor_positions
    return words, words + (config.predictor_positions > 1)


class Depthwise(wiring.Component):
    """A depthwise 3x3 convolution over a stream of positions, with two rows in a line buffer.

    `LATENCY` enabled cycles after the step that brings column `col` of row `row`, its sum is that
    of the window centred on (row - 1, col - 1).

    Parameters
    ----------
    words : int
        Words of the line buffer, one for each step of a row.
    dsps, tables : int
        Multipliers that are DSP blocks, and that are tables of squares; the rest is logic. Tables
        only with one position a step.

    Members
    -------
    enable : In(1)
        Everything stands still while it is low.
    weights : In(s8).array(9)
        The kernel, row-major. They may change when the two columns after a row have been stepped
        through: the window is zero then.
    valid : In(1)
        A step: `values`, `cols_in_map`, `above_in_map` and `marks` are those of its positions.
    values : In(u8).array(N)
    word : In(word)
        The step's word in the line buffer.
    cols_in_map : In(N)
        The columns that are in the map. Two at least that are not follow each row, to bring in the
        padding.
    above_in_map : In(1)
        Low in the map's first row, where the line buffer holds rows of another channel.
    marks : In(N), sum_marks : Out(N)
        A position's mark comes out with the sum of the window centred on it. Outside the map it
        means nothing.
    sums : Out(signed).array(N)
    """

    enable: Signal
    weights: data.View
    valid: Signal
    values: list[Signal]
    word: Signal
    cols_in_map: Signal
    above_in_map: Signal
    marks: Signal
    sum_marks: Signal
    sums: list[Signal]

    def __init__(self, config: Config, *, words: int, dsps: int, tables: int) -> None:
        self._positions = config.predictor_positions
        self._words = words
        in_tables = [(0, tap) for tap in _OLDEST_TAPS[:tables]]
        assert not tables or self._positions == 1, "a value is in the window for one step only"
        self._in_tables = in_tables
        products = [(place, tap) for place in range(self._positions) for tap in range(9)]
        self._in_dsps = [product for product in products if product not in in_tables][:dsps]
        assert (len(in_tables), len(self._in_dsps)) == (tables, dsps)
        super().__init__(
            {
                "enable": In(1),
                "weights": In(data.ArrayLayout(signed(8), 9)),
                "valid": In(1),
                "values": In(8).array(self._positions),
                "word": In(word_bits(config)),
                "cols_in_map": In(self._positions),
                "above_in_map": In(1),
                "marks": In(self._positions),
                "sum_marks": Out(self._positions),
                "sums": Out(signed(arithmetic.SCORE_BITS)).array(self._positions),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places = range(self._positions)
        lines: memory.Memory = memory.Memory(
            shape=data.ArrayLayout(ROWS, self._positions), depth=self._words, init=[]
        )
        m.submodules.lines = lines
        read = lines.read_port()
        write = lines.write_port()

        # Cycle 1: the new columns of the window; their upper two pixels come from the line buffer.
        valid = delayed(m, self.valid, 1, self.enable)
        values = [delayed(m, value, 1, self.enable) for value in self.values]
        marks = delayed(m, self.marks, 1, self.enable)
        in_map = delayed(m, self.cols_in_map, 1, self.enable)
        above_in_map = delayed(m, self.above_in_map, 1, self.enable)
        above1 = [Mux(in_map[place] & above_in_map, read.data[place].above1, 0) for place in places]
        above2 = [Mux(in_map[place], read.data[place].above2, 0) for place in places]
        m.d.comb += [
            read.en.eq(self.enable),
            read.addr.eq(self.word),
            write.en.eq(valid & in_map.any() & self.enable),
            write.addr.eq(delayed(m, self.word, 1, self.enable)),
        ]
        for place in places:
            m.d.comb += [
                write.data[place].above1.eq(values[place]),
                write.data[place].above2.eq(above1[place]),
                write.data[place].mark1.eq(marks[place]),
            ]
        cols = range(self._positions + 2)
        window = [
            [Signal(8, name=f"window_{r}_{c}", reset_less=True) for c in cols] for r in range(3)
        ]
        # Marks of the window's middle row, but for its oldest column.
        middle = Signal(self._positions + 1, reset_less=True)
        newest_marks = Cat(read.data[place].mark1 for place in places)
        m.d.comb += self.sum_marks.eq(
            delayed(m, middle[: self._positions], LATENCY - 2, self.enable)
        )
        shifts = self.enable & valid
        with m.If(shifts):
            m.d.sync += middle.eq(Cat(middle[self._positions], newest_marks))
            for line, newest in zip(window, (above2, above1, values), strict=True):
                following = [*line[self._positions :], *newest]
                m.d.sync += [pixel.eq(after) for pixel, after in zip(line, following, strict=True)]
        # Cycles 2 to 4: products, sums of three, sum of nine.
        for place in places:
            thirds = []
            for r, line in enumerate(window):
                kernel_row = line[place : place + 3]
                products = [
                    self._product(m, kernel_row, place, 3 * r + col, shifts) for col in range(3)
                ]
                third = Signal(signed(18), name=f"third_{place}_{r}", reset_less=True)
                with m.If(self.enable):
                    m.d.sync += third.eq(products[0] + products[1] + products[2])
                thirds.append(third)
            with m.If(self.enable):
                m.d.sync += self.sums[place].eq(thirds[0] + thirds[1] + thirds[2])
        return m

    def _product(self, m: Module, line: list[Signal], place: int, tap: int, shifts: Value) -> Value:
        """The product of a tap of a kernel, of the enabled cycle before.

        `place` is the kernel's place in the window, `line` its three pixels in the tap's row.
        """
        x, weight = line[tap % 3], self.weights[tap]
        number = 9 * place + tap  # `hw.fpga.floorplan` knows the multipliers by it
        if (place, tap) in self._in_dsps:
            multiplier = Multiplier(unsigned(8), signed(8), holds_factors=False)
            m.submodules[f"product_{number}"] = multiplier
            m.d.comb += [
                multiplier.enable.eq(self.enable),
                multiplier.a.eq(x),
                multiplier.b.eq(weight),
            ]
            return multiplier.product
        if (place, tap) in self._in_tables:
            newest = line[2]  # it is x two shifts later, when its squares have come
            terms = _quarter_squares(m, tap, newest, weight, shifts)
            value = terms[0] - terms[1]
        else:
            value = _product_in_logic(x, weight)
        product = Signal(signed(16), name=f"product_{number}", reset_less=True)
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
