"""The ZAP predictor: finds the survivors, those activations of `I_t` that it does not predict zero.

It reads the computed activations `I_s` of a channel in raster order, as the array finishes them,
and runs both depthwise 3x3 convolutions of the ZAP over them in one streaming pass (ZAP paper,
section 2.2). A pixel of `I_t` whose score exceeds the threshold is a survivor: it leaves for the
array to compute. Zero padding, rounding and widths are those of `golden.layers.scores`.

A score needs its 5x5 neighbourhood, so decisions lag two rows and two columns behind the
activations. Beyond a strip's edge these are activations of other rows of the map, and beyond the
map's they are zeros. Throughput: a step a cycle, of N positions of a row
(`Config.predictor_positions`). A channel takes `predictor_steps` cycles for each of scored_end + 2
rows, and `PREDICTOR_LATENCY` more. It takes longer where its activations are not there yet or its
survivors are not taken, and where a step needs several activations or has several survivors: both
go one a cycle.
"""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for, ceil_log2

from golden import arithmetic
from hw.contract.config import Config
from hw.contract.timing import PREDICTOR_LATENCY
from hw.layouts.descriptor import LayerDescriptor, PredictorRecord
from hw.layouts.pixels import PixelOrEnd
from hw.lib.countdown import Countdown
from hw.lib.pipeline import delayed
from hw.lib.register_copies import register_copies
from hw.lib.structs import struct_signal
from hw.predictor import depthwise
from hw.predictor.depthwise import Depthwise, line_words
from hw.predictor.region_walk import RegionWalk
from hw.predictor.survivor_order import Decisions, SurvivorOrder

__all__ = ["Predictor", "shift_within"]

_HIDDEN_LATENCY = 3
"""Cycles from layer 1's sum to a hidden activation."""
_HIDDEN_DELAY = depthwise.LATENCY + _HIDDEN_LATENCY
"""Cycles from a step to the hidden activations that it completes."""
_DECISION_DELAY = _HIDDEN_DELAY + depthwise.LATENCY
"""Cycles from a step to the scores that it completes."""
assert _DECISION_DELAY + 2 == PREDICTOR_LATENCY, "then the end mark, and the next channel"


class Predictor(wiring.Component):
    """Scores one channel after another.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from two cycles before the first record on, and while a channel is in work.
    start : In(1)
        A layer begins, with the first slice of its ifm; at least a cycle before its first record.
    records : In(stream of PredictorRecord)
        One for each channel, taken when the channel before has left.
    recalled : In(stream of u8)
        Each channel's activations in the restored rows, in raster order; those of `I_t` are
        ignored.
    values : In(stream of u8)
        The activations of `I_s` in the rows below, in raster order, channel after channel.
    survivors : Out(stream of PixelOrEnd)
        In raster order, an end mark after each channel.
    kept, skipped : Out(range(N + 1))
        Positions of `I_t` that were found to survive, or not, in this cycle.
    """

    layer: data.View
    start: Signal
    records: stream.Interface
    recalled: stream.Interface
    values: stream.Interface
    survivors: stream.Interface
    kept: Signal
    skipped: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "start": In(1),
                "records": In(stream.Signature(PredictorRecord())),
                "recalled": In(stream.Signature(unsigned(8))),
                "values": In(stream.Signature(unsigned(8))),
                "survivors": Out(stream.Signature(PixelOrEnd(config))),
                "kept": Out(range(config.predictor_positions + 1)),
                "skipped": Out(range(config.predictor_positions + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        places = range(config.predictor_positions)
        decided = struct_signal(Decisions(config), name="decided")
        decides = Signal()
        stands_still = self._hand_out(m, decided, decides)
        enable, enable1, enable2 = register_copies(m, platform, ~stands_still, 3)

        idle = Signal(init=1)
        begin = idle & self.records.valid
        record = struct_signal(PredictorRecord(), name="record", reset_less=True)
        m.d.comb += self.records.ready.eq(idle)
        with m.If(begin):
            m.d.sync += [idle.eq(0), record.eq(self.records.payload)]

        m.submodules.walk = walk = RegionWalk(config)
        connect(m, flipped(self.recalled), walk.recalled)
        connect(m, flipped(self.values), walk.values)
        m.d.comb += [
            walk.layer.eq(self.layer),
            walk.enable.eq(enable),
            walk.idle.eq(idle),
            walk.begin.eq(begin),
        ]

        # Layer 1 makes the value one row and column behind the walk, layer 2 that two behind.
        # Where the blocks do not halve, one layer has one more DSP block and the other one more
        # table, so that neither has more than its nine products.
        dsps, tables = config.predictor_dsps, config.predictor_tables
        words1, words2 = line_words(config)
        m.submodules.layer1 = layer1 = Depthwise(
            config, words=words1, dsps=dsps // 2, tables=arithmetic.ceil_div(tables, 2)
        )
        m.submodules.layer2 = layer2 = Depthwise(
            config, words=words2, dsps=arithmetic.ceil_div(dsps, 2), tables=tables // 2
        )
        hidden = [self._hidden_activation(m, enable, record, layer1, walk, at) for at in places]
        # See `line_words`.
        hidden_word = walk.word_before if words1 == words2 else walk.word
        m.d.comb += [
            layer1.enable.eq(enable1),
            layer1.weights.eq(record.weight1),
            layer1.valid.eq(walk.step),
            layer1.word.eq(walk.word),
            layer1.cols_in_map.eq(walk.cols_in_map),
            layer1.above_in_map.eq(walk.above_in_map),
            layer1.marks.eq(walk.computed),
            layer2.enable.eq(enable2),
            layer2.weights.eq(record.weight2),
            layer2.valid.eq(delayed(m, walk.step, _HIDDEN_DELAY, enable)),
            layer2.word.eq(delayed(m, hidden_word, _HIDDEN_DELAY, enable)),
            layer2.cols_in_map.eq(delayed(m, walk.hidden_in_map, _HIDDEN_DELAY, enable)),
            layer2.above_in_map.eq(1),  # layer 1 makes a row of zeros above the map
            layer2.marks.eq(delayed(m, layer1.sum_marks, _HIDDEN_LATENCY, enable)),
        ]
        for place in places:
            m.d.comb += [
                layer1.values[place].eq(walk.value[place]),
                layer2.values[place].eq(hidden[place]),
            ]

        channel_ends = delayed(m, walk.channel_ends, _DECISION_DELAY, enable)
        end = Signal()
        with m.If(enable):
            m.d.sync += end.eq(channel_ends)
            with m.If(end):
                m.d.sync += idle.eq(1)
        decides_row = delayed(m, walk.decides, _DECISION_DELAY, enable)
        columns = delayed(m, walk.decided_in_map, _DECISION_DELAY, enable)
        decide = columns & decides_row.replicate(len(places))
        scored = delayed(m, walk.scored, _DECISION_DELAY, enable)
        row_ends = delayed(m, walk.row_ends, _DECISION_DELAY, enable)
        predicted = Signal(len(places))
        survive = Signal(len(places))
        m.d.comb += [
            predicted.eq(decide & ~layer2.sum_marks & (enable & scored).replicate(len(places))),
            survive.eq(predicted & Cat(score > record.threshold for score in layer2.sums)),
            self.kept.eq(sum(survive)),
            self.skipped.eq(sum(predicted & ~survive)),
            decides.eq(survive.any() | (enable & end)),
            decided.survive.eq(survive),
            decided.end.eq(end),
        ]
        self._follow_pixels(m, decided.pixels, begin, enable, decide, decides_row & row_ends)
        return m

    def _hand_out(self, m: Module, decided: data.View, decides: Signal) -> Signal:
        """Hands out survivors and end marks.

        A step's decisions wait in a second register where the first is not free. Returns whether
        some will wait in the next cycle: then everything before them stands still, told so by
        registers.
        """
        m.submodules.order = order = SurvivorOrder(self._config)
        connect(m, order.items, flipped(self.survivors))
        held = Signal.like(decided, name="held", reset_less=True)
        first: data.View = Signal.like(decided, name="first")
        holds = Signal()
        will_hold = Signal()
        free = ~order.decisions.valid | order.decisions.ready
        valid = Signal()
        m.d.comb += [
            will_hold.eq(~free & (holds | decides)),
            order.decisions.valid.eq(valid),
            order.decisions.payload.eq(first),
        ]
        m.d.sync += holds.eq(will_hold)
        with m.If(~holds):
            m.d.sync += held.eq(decided)
        with m.If(free):
            m.d.sync += [valid.eq(holds | decides), first.eq(Mux(holds, held, decided))]
        return will_hold

    def _hidden_activation(
        self,
        m: Module,
        enable: Signal,
        record: data.View,
        layer1: Depthwise,
        walk: RegionWalk,
        place: int,
    ) -> Signal:
        """A sum of layer 1 with its offset, shifted and clamped; 0 outside the map."""
        biased = Signal.like(record.offset1, reset_less=True)  # |sum| + |offset1| < 2**20
        shifted = Signal(arithmetic.HIDDEN_BITS, reset_less=True)
        over = Signal(reset_less=True)
        negative = Signal(reset_less=True)
        hidden = Signal.like(shifted)
        low, above = shift_within(m, biased[:-1], record.shift1, len(shifted))
        in_map = walk.above_in_map & walk.hidden_in_map[place]
        kept = delayed(m, in_map, _HIDDEN_DELAY - 1, enable)
        with m.If(enable):
            m.d.sync += [
                biased.eq(layer1.sums[place] + record.offset1),
                shifted.eq(low),
                over.eq(above),
                negative.eq(biased[-1]),
                hidden.eq(Mux(kept & ~negative, shifted | over.replicate(len(hidden)), 0)),
            ]
        return hidden

    def _follow_pixels(
        self,
        m: Module,
        pixels: data.View,
        begin: Value,
        enable: Signal,
        decide: Value,
        row_decided: Value,
    ) -> None:
        """Counts indices and addresses of the pixels that are decided next.

        The channels of a slice begin at the same address, those of the next slice further on.
        """
        layer = self.layer
        positions = self._config.predictor_positions
        index = Signal(bits_for(self._config.ofm_words))
        base = Signal(ceil_log2(self._config.ifm_words))
        row_base = Signal.like(base)
        slice_base = Signal.like(base)
        of_slice = Countdown(layer.slice_channels)
        channel_base = layer.base + slice_base
        steps: list[Value] = [Const(0)]  # from a pixel to the next ones of its row
        for number in range(1, positions + 1):
            step = Signal.like(base, name=f"col_step_{number}", reset_less=True)
            m.d.sync += step.eq(number * layer.col_step)
            steps.append(step)
        # Decisions lag two columns, so those of a row begin at this place of a step.
        lead = -2 % positions
        for place in range(positions):
            offset: Value = Const(place)
            further = steps[place]
            if lead and place >= lead:
                offset = Mux(decide[0], place, place - lead)
                further = Mux(decide[0], steps[place], steps[place - lead])
            m.d.comb += [
                pixels[place].index.eq(index + offset),
                pixels[place].base.eq(base + further),
            ]
        decided = sum(decide)
        with m.If(enable):
            m.d.sync += [index.eq(index + decided), base.eq(base + Array(steps)[decided])]
            with m.If(row_decided):
                m.d.sync += [
                    base.eq(row_base + layer.row_step),
                    row_base.eq(row_base + layer.row_step),
                ]
        with m.If(begin):
            m.d.sync += [
                index.eq(0),
                base.eq(channel_base),
                row_base.eq(channel_base),
                *of_slice.advance(),
            ]
            with m.If(of_slice.last):
                m.d.sync += slice_base.eq(slice_base + layer.slice_step)
        with m.If(self.start):
            m.d.sync += [slice_base.eq(0), *of_slice.begin()]


def shift_within(m: Module, value: Value, shift: Value, bits: int) -> tuple[Value, Value]:
    """The low `bits` bits of value >> shift, and whether any bit above them is set.

    The longest step comes first: it leaves the fewest bits for the others.
    """
    over: Value = Const(0)
    for step in reversed(range(len(shift))):
        moved = Signal.like(value, name=f"moved_{step}")
        m.d.comb += moved.eq(Mux(shift[step], value >> (1 << step), value))
        left = bits + (1 << step) - 1
        value, past = moved[:left], moved[left:]
        over |= past.any()
    return value, over
