"""One depthwise 3x3 convolution of a ZAP, over a stream of positions.

Its nine multipliers are of three kinds, as an FPGA has room: DSP blocks, squares looked up in block
RAM, and logic (`Config.predictor_dsps`, `Config.predictor_tables`). Whichever it comes from, a
product is there a cycle after its value is in the window.
"""

from amaranth import Array, Cat, Module, Mux, Signal
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
"""From a position to its sum."""

ROWS = data.StructLayout({"above1": 8, "above2": 8, "mark1": 1})
"""What the line buffer has of a column: values one and two rows up, and a mark one row up."""

SQUARES = (16, 512)
"""Width and depth of a table of squares."""

_OLDEST_TAPS = (0, 3, 6)
"""Of a 3x3 kernel, row-major: those of the column whose values are in the window the longest."""


def col_bits(config: Config) -> int:
    """Of a column's number, those counted that flush the windows."""
    return bits_for(config.row_pixels + 1)


class Depthwise(wiring.Component):
    """A depthwise 3x3 convolution over a stream of positions, two rows kept in a line buffer.

    After the step that brings position (row, col), `LATENCY` enabled cycles later, `sum` is
    that of the window centred on (row - 1, col - 1). Columns outside the map must be stepped
    through, with `col_in_map` low, to bring in the padding; there are two after each row.
    `above_in_map` is low in the first row: the line buffer still holds rows of another channel.
    A position's `mark` comes out, as `sum_mark`, with the sum of the window around it; outside the
    map it means nothing. `weights` may change once the two columns after a row have been stepped
    through: what is in the window then is zero.
    """

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

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lines = memory.Memory(shape=ROWS, depth=config.row_pixels, init=[])
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
        marks = Signal(2, reset_less=True)  # of the window's middle row, the newest column first
        m.d.comb += self.sum_mark.eq(delayed(m, marks[1], LATENCY - 2, self.enable))
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
            newest = line[2]  # two shifts on, when its squares have come, it is x
            terms = _quarter_squares(m, tap, newest, weight, shifts)
            value = terms[0] - terms[1]
        else:
            value = _product_in_logic(x, weight)
        product = Signal(signed(16), name=f"product_{tap}", reset_less=True)
        with m.If(self.enable):
            m.d.sync += product.eq(value)
        return product


def _product_in_logic(x, weight):
    """x * weight, two bits of the weight at a time."""
    multiples = (0, x, x << 1, x + (x << 1))
    low, middle, high = (Array(multiples)[weight[bit : bit + 2].as_unsigned()] for bit in (0, 2, 4))
    top = Array((0, x, -(x << 1), -x))[weight[6:8].as_unsigned()]
    return (low + (middle << 2)) + ((high + (top << 2)) << 4)


def _quarter_squares(m: Module, tap: int, x, weight, shifts):
    """(x + weight)**2 / 4 and (x - weight)**2 / 4, rounded down alike, two shifts later.

    Their difference is x * weight. One block RAM holds them all: of -128 to 383, modulo 512.
    """
    bits, depth = SQUARES
    least = arithmetic.S8[0]
    squares = [n * n // 4 for n in (*range(depth + least), *range(least, 0))]
    table = memory.Memory(shape=unsigned(bits), depth=depth, init=squares)
    m.submodules[f"squares_{tap}"] = table
    terms = []
    for argument in (x + weight, x - weight):
        port = table.read_port()
        term = Signal.like(port.data, reset_less=True)
        m.d.comb += [port.addr.eq(argument), port.en.eq(shifts)]
        with m.If(shifts):
            m.d.sync += term.eq(port.data)
        terms.append(term)
    return terms
