"""Drain: hands an ofm bank out in raster order, pooled on its way where the layer says so.

Of a strip it hands out the rows that are the strip's own; the pixels that the strip below needs
follow as they are.

It reads the windows of a max or average pooling tap by tap, G channels at a time; a layer without
pooling has windows of one pixel. A tap takes a cycle, one outside the map too, and an average
G + 9 more for each window. All of it is behind the array's back: the next group of G channels is
computed meanwhile.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from golden import arithmetic
from hw.contract.config import Config
from hw.layouts.descriptor import LayerDescriptor
from hw.lib.countdown import Countdown
from hw.lib.fsm import in_state
from hw.lib.multiplier import WIDE_LATENCY, wide_product
from hw.lib.pipeline import clamp, delayed, round_shift

__all__ = ["OfmDrain"]

_QUEUE = 8
"""Words on their way out: three cycles in memory and combination, then these."""
_COMBINED = 3
"""Cycles from a tap's address to the lanes that it was combined into."""
_AVERAGED = 4 + WIDE_LATENCY
"""Cycles from a lane's sum to its average."""


class OfmDrain(wiring.Component):
    """Reads one bank after another.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable while words leave.
    go : In(1)
        Hand out a bank; ignored while one leaves.
    read : Out(1)
        A pixel is read in this cycle.
    address : Out(ofm index)
    word : In(8 * G)
        The word at the address of two cycles before.
    done : Out(1)
        All that leaves of the bank has been read.
    idle : Out(1)
        No word is left to leave.
    words : Out(stream of G bytes)
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        word = 8 * config.group
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "go": In(1),
                "read": Out(1),
                "address": Out(ceil_log2(config.ofm_words)),
                "word": In(word),
                "done": Out(1),
                "idle": Out(1),
                "words": Out(stream.Signature(unsigned(word))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        layer = self.layer
        pool = layer.pool
        m.submodules.queue = queue = SyncFIFO(width=8 * config.group, depth=_QUEUE)
        m.d.comb += [
            self.words.payload.eq(queue.r_data),
            self.words.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.words.ready),
        ]

        # The walk: windows in raster order, and in each its taps.
        coordinate = signed(bits_for(config.ofm_words) + 2)
        rows, cols = Countdown(pool.height), Countdown(pool.width)
        tap_rows, taps = Countdown(pool.kernel_height), Countdown(pool.kernel_width)
        top, left = Signal(coordinate), Signal(coordinate)
        row, col = Signal(coordinate), Signal(coordinate)
        top_line, line = Signal(ceil_log2(config.ofm_words)), Signal(ceil_log2(config.ofm_words))
        first = Signal()
        reserved = Signal(range(_QUEUE + 1))
        tap = Signal()
        spilling = Signal()
        last, last_window = Signal(), Signal()
        m.d.comb += [
            last.eq(taps.last & tap_rows.last),
            last_window.eq(cols.last & rows.last),
            self.address.eq(line + col),
            self.read.eq(
                tap & (row >= 0) & (row < layer.height) & (col >= 0) & (col < layer.width)
            ),
        ]

        def begin_window(at_top, at_line, at_left):
            return [
                first.eq(1),
                row.eq(at_top),
                line.eq(at_line),
                left.eq(at_left),
                col.eq(at_left),
            ]

        def end_windows():
            m.next = "DONE"
            with m.If(layer.spilled != 0):
                m.d.sync += [
                    first.eq(1),
                    row.eq(0),
                    col.eq(0),
                    line.eq(layer.pixels - layer.spilled),
                    taps.last.eq(1),
                    tap_rows.last.eq(1),
                ]
                m.next = "SPILL"

        len_average = _COMBINED + config.group + _AVERAGED
        phase = Signal(range(len_average + 1))
        averaged, averages_last = Signal(), Signal()
        reading = Signal()
        with m.FSM() as walk:
            m.d.comb += [
                reading.eq(in_state(walk, "READ")),
                spilling.eq(in_state(walk, "SPILL")),
                tap.eq((reading | spilling) & (reserved != _QUEUE)),
                averaged.eq(in_state(walk, "AVERAGE") & (phase == len_average - 1)),
                self.done.eq(in_state(walk, "DONE")),
            ]
            with m.State("REST"):
                with m.If(self.go):
                    m.d.sync += [
                        *(s for steps in (rows, cols, tap_rows, taps) for s in steps.begin()),
                        top.eq(pool.top),
                        top_line.eq(pool.first_line),
                        *begin_window(pool.top, pool.first_line, pool.left),
                    ]
                    m.next = "READ"
            with m.State("READ"):
                with m.If(tap):
                    m.d.sync += [first.eq(0), col.eq(col + 1), *taps.advance()]
                    with m.If(taps.last):
                        m.d.sync += [
                            row.eq(row + 1),
                            line.eq(line + layer.width),
                            col.eq(left),
                            *tap_rows.advance(),
                        ]
                    with m.If(last):
                        m.d.sync += [
                            averages_last.eq(last_window),
                            *cols.advance(),
                            *begin_window(top, top_line, left + pool.stride_width),
                        ]
                        with m.If(cols.last):
                            below = top + pool.stride_height
                            line_below = top_line + pool.line_step
                            m.d.sync += [
                                *rows.advance(),
                                top.eq(below),
                                top_line.eq(line_below),
                                *begin_window(below, line_below, pool.left),
                            ]
                        with m.If(pool.average):
                            m.d.sync += phase.eq(0)
                            m.next = "AVERAGE"
                        with m.Elif(last_window):
                            end_windows()
            with m.State("AVERAGE"):
                m.d.sync += phase.eq(phase + 1)
                with m.If(averaged):
                    m.next = "READ"
                    with m.If(averages_last):
                        end_windows()
            with m.State("SPILL"):
                with m.If(tap):
                    m.d.sync += line.eq(line + 1)
                    with m.If(line == layer.pixels - 1):
                        m.next = "DONE"
            with m.State("DONE"):
                m.next = "REST"

        # Combine taps, lane by lane.
        value_bits = 9
        lane_shape = signed(value_bits + ceil_log2(config.ofm_words))
        lanes = [Signal(lane_shape, name=f"lane_{n}", reset_less=True) for n in range(config.group)]
        tap_before = delayed(m, tap, _COMBINED - 1)
        first_before = delayed(m, first, _COMBINED - 1)
        inside_before = delayed(m, self.read, _COMBINED - 1)
        least = Mux(layer.ofm_signed, arithmetic.S8[0], arithmetic.U8[0])
        for number, lane in enumerate(lanes):
            byte = self.word.word_select(number, 8)
            value = Cat(byte, byte[7] & layer.ofm_signed).as_signed()
            with m.If(tap_before & first_before):
                m.d.sync += lane.eq(Mux(inside_before, value, Mux(pool.average, 0, least)))
            with m.Elif(tap_before & inside_before):
                m.d.sync += lane.eq(Mux(pool.average, lane + value, Mux(value > lane, value, lane)))

        # Averages: one lane after another through one multiplier.
        total = Signal(lane_shape, reset_less=True)
        with m.Switch(phase):
            for number, lane in enumerate(lanes):
                with m.Case(number + _COMBINED):
                    m.d.sync += total.eq(lane)
        rounded = round_shift(m, wide_product(m, total, pool.multiplier), pool.shift)
        average = Signal(8, reset_less=True)
        m.d.sync += average.eq(
            Mux(
                layer.ofm_signed,
                clamp(rounded, arithmetic.S8),
                clamp(rounded, arithmetic.U8),
            )
        )
        averages = Signal(8 * (config.group - 1), reset_less=True)
        m.d.sync += averages.eq(Cat(averages, average)[8:])

        window_ends = delayed(m, tap & last & (spilling | ~pool.average), _COMBINED)
        m.d.comb += [
            queue.w_en.eq(window_ends | averaged),
            queue.w_data.eq(Mux(averaged, Cat(averages, average), Cat(lane[:8] for lane in lanes))),
            self.idle.eq(~reading & ~spilling & (reserved == 0)),
        ]
        leaves = self.words.valid & self.words.ready
        m.d.sync += reserved.eq(reserved + (tap & last) - leaves)
        return m
