"""The predictor decides every pixel of `I_t` once, in raster order.

The walk is proved to visit every position in that order, and the rest of the predictor to give each
position that the walk decides its number, and to lose none, whatever the scores are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value

from golden.pattern import MAX_PERIOD
from hw.contract.program import RESIDUE_BITS
from hw.layouts.descriptor import LayerDescriptor
from hw.lib.pipeline import delayed
from hw.predictor.depthwise import Depthwise
from hw.predictor.lookahead import Lookahead
from hw.predictor.predictor import _DECISION_DELAY
from hw.predictor.region_walk import RegionWalk
from hw.predictor.survivor_order import SurvivorOrder
from tests.formal.harness import (
    Defect,
    Harness,
    elaborated,
    items_keep_their_order,
    progress,
    stream_is_stable,
)
from tests.hw.small_configs import TINY

__all__ = [
    "LookaheadHarness",
    "RegionWalkHarness",
    "SurvivorOrderHarness",
    "SurvivorsHarness",
    "WideLookaheadHarness",
    "WideRegionWalkHarness",
    "WideSurvivorsHarness",
]

_LOOKAHEAD = "hw.predictor.lookahead"
_SURVIVOR_ORDER = "hw.predictor.survivor_order"
_WALK = "hw.predictor.region_walk"
_PREDICTOR = "hw.predictor.predictor"
_VISITS = "the walk visits each position once, in raster order, two rows and columns past the map"
_TAKEN = "an activation is taken for each position that has one, from where it comes"
_IN_PATTERN = "a position is computed where the pattern has it, in the map"
_EMPTY = "a channel begins when nothing of the one before is under way"
_DECIDED = "each position that the walk decides is kept or skipped, by its score"
_ORDER = "every item leaves once, unchanged and in order"
_DECIDES = "a position is decided once, where it is in the map and a scored row"
_ONE_BY_ONE = "a step's survivors leave one by one, in order, and then the step"


class AnyLookahead(Lookahead):
    """A lookahead that may have any activations, and enough of them at any time."""

    def elaborate(self, platform: object) -> Module:
        return Module()

    def choose(self, harness: Harness, name: str) -> None:
        """Let the environment choose what is there; none is enough where none is wanted."""
        there = harness.free(1, f"{name}_there")
        harness.m.d.comb += self.enough.eq((self.wanted == 0) | there)
        for place, value in enumerate(self.values):
            harness.drive(value, f"{name}_{place}")


class RegionWalkHarness(Harness):
    """Walk through regions of any size, with any pattern."""

    component = "RegionWalk"
    positions = 1
    sizes = f"regions of up to {TINY.ofm_words} rows and {TINY.row_pixels} columns, any patterns"
    defects: tuple[Defect, ...] = (
        Defect(
            module=_WALK,
            old="self._last_row.eq(self._row == layer.scored_end),",
            new="self._last_row.eq(self._row > layer.scored_end),",
            breaks=_VISITS,
        ),
        Defect(
            module=_WALK,
            old="self._row_place.eq(self._place_below),\n                self._restored",
            new="self._restored",
            breaks=_IN_PATTERN,
        ),
        Defect(
            module=_WALK,
            old="self.decides.eq(self.step & self._row[1:].any())",
            new="self.decides.eq(self.step & self._row.any())",
            breaks=_DECIDES,
        ),
        Defect(
            module=_WALK,
            old="goes_on = self._running & self.enable",
            new="goes_on = self._running",
            breaks=_TAKEN,
        ),
        Defect(
            module=_WALK,
            old="goes_on = self._running & self.enable",
            new="goes_on = self.enable",
            breaks=_TAKEN,
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_WALK)
        signals = self.named_signals(module)
        positions = self.positions
        lookaheads = self.stand_in(module, "Lookahead", AnyLookahead)
        dut = module.RegionWalk(replace(TINY, predictor_positions=positions))
        m.submodules.dut = dut
        elaborated(dut)
        recalled, values = lookaheads
        recalled.choose(self, "recalled")
        values.choose(self, "values")
        enable = self.drive(dut.enable, "enable")
        # A channel begins when the one before has ended.
        running = Signal(name="running")
        begin = self.free(1, "begin_chosen") & ~running & self.register(~running)
        m.d.comb += [dut.begin.eq(begin), dut.idle.eq(~running)]
        layer: Any = Signal(LayerDescriptor(TINY), name="layer", reset_less=True)
        chosen: Any = self.free(layer.shape(), "layer_chosen")
        # The layer is stable from two cycles before a channel begins on.
        changes = self.free(1, "layer_changes") & ~running
        with m.If(changes):
            m.d.sync += layer.eq(chosen)
        stable = ~self.register(changes, init=1) & ~changes
        self.assume(~begin | stable)
        m.d.comb += dut.layer.eq(layer)
        self.assume(~begin | self._is_legal(layer))
        width, height, period = layer.width, layer.height, layer.period

        # The step's first position, and its place in the pattern.
        row = Signal(range(TINY.ofm_words + 3), name="row_reference")
        word = Signal(range(TINY.row_pixels // positions + 3), name="word_reference")
        place = Signal(range(MAX_PERIOD), name="place_reference")
        of_row = Signal(range(MAX_PERIOD), name="row_place_reference")

        def following(residue: Value) -> Value:
            return Mux(residue == period - 1, 0, residue + 1)[: len(place)]

        def below(residue: Value) -> Value:
            moved = residue + layer.residues[RESIDUE_BITS:]
            return Mux(moved >= period, moved - period, moved)[: len(place)]

        residues: list[Value] = [place]
        for _ in range(positions):
            residues.append(following(residues[-1]))
        goes_on = dut.step & enable
        col = Signal(range(TINY.row_pixels + 3 + 2 * positions))
        m.d.comb += col.eq(word * positions)
        row_ends = (word != 0) & (col + positions >= width + 2)
        ends = row_ends & (row == layer.scored_end + 1)
        with m.If(goes_on):
            m.d.sync += [
                word.eq(Mux(row_ends, 0, word + 1)),
                row.eq(row + row_ends),
                place.eq(Mux(row_ends, below(of_row), residues[-1])),
            ]
            with m.If(row_ends):
                m.d.sync += of_row.eq(below(of_row))
            with m.If(ends):
                m.d.sync += running.eq(0)
        with m.If(begin):
            m.d.sync += [running.eq(1), word.eq(0), row.eq(0), place.eq(0), of_row.eq(0)]

        in_row = row < height
        near = [(col + late >= 2) & (col + late - 2 < width) for late in range(positions + 2)]
        in_map = Cat(near[2:]) & in_row.replicate(positions)
        in_pattern = Cat(layer.pattern.bit_select(residue, 1) for residue in residues[:-1])
        is_computed = in_map & in_pattern
        restored = row < layer.first_row
        self.prove(
            _VISITS,
            (signals["running"] == running)
            & (
                ~running
                | (
                    (dut.word == word)
                    & (signals["row"] == row)
                    & (dut.row_ends == row_ends)
                    & (signals["last_row"] == (row == layer.scored_end + 1))
                    & (row <= layer.scored_end + 1)
                    & ((word == 0) | (word == 1) | (col < width + 2))
                    & (signals["in_map"] == Cat(near))
                    & (dut.cols_in_map == Cat(near[2:]))
                    & (dut.hidden_in_map == Cat(near[1:-1]))
                    & (dut.decided_in_map == Cat(near[:-2]))
                    & (signals["row_in_map"] == in_row)
                    & (dut.channel_ends == (dut.step & ends))
                    & self._is_legal(layer)
                    & ~self.register(changes & ~running)
                )
            ),
        )
        self.prove(
            _IN_PATTERN,
            ~running
            | (
                (dut.computed == is_computed)
                & (signals["in_pattern"] == in_pattern)
                & (signals["place"] == residues[-1])
                & (signals["row_place"] == below(of_row))
                & (place < period)
                & (of_row < period)
                & (signals["last_place"] == period - 1)
            ),
            given=[_VISITS],
        )
        self.prove(
            _DECIDES,
            (dut.decides == (dut.step & (row >= 2)))
            & (
                ~running
                | (
                    (dut.scored == ((row >= 2) & (row - 2 >= layer.scored_row)))
                    & (
                        signals["scored_rows"]
                        == Cat(
                            row >= layer.scored_row,
                            (row >= 1) & (row - 1 >= layer.scored_row),
                            (row >= 2) & (row - 2 >= layer.scored_row),
                        )
                    )
                )
            ),
            given=[_VISITS],
        )
        found = []
        for at in range(positions):
            value = Array(values.values)[sum(is_computed[:at], start=Const(0))]
            found.append(Mux(is_computed[at], Mux(restored, recalled.values[at], value), 0))
        self.prove(
            _TAKEN,
            (_taken(values) == Mux(goes_on & ~restored, sum(is_computed), 0))
            & (_taken(recalled) == Mux(goes_on & restored, sum(in_map), 0))
            & (~running | (signals["restored"] == restored) | ~in_row)
            & (~goes_on | (Cat(dut.value) == Cat(value[:8] for value in found))),
            given=[_VISITS, _IN_PATTERN],
        )
        progress(
            self,
            "the walk goes on where activations are there",
            favourable=running & recalled.enough & values.enough & enable,
            event=goes_on,
            cycles=1,
            given=[_VISITS],
        )
        self.cover("a channel ends", dut.channel_ends & enable)

    def _is_legal(self, layer: Any) -> Value:
        """What was assumed of the layer as its channel began."""
        further = self.positions - 1  # positions of a step for which the pattern repeats itself
        return (
            (layer.pattern.bit_select(layer.period, further) == layer.pattern[:further])
            & (layer.width != 0)
            & (layer.width <= TINY.row_pixels)
            & (layer.height != 0)
            & (layer.height <= TINY.ofm_words)
            & (layer.scored_end >= 1)
            & (layer.scored_end <= layer.height)
            & (layer.scored_row < layer.scored_end)
            & (layer.first_row <= layer.height)
            & (layer.period != 0)
            & (layer.period <= MAX_PERIOD)
            & (layer.residues[RESIDUE_BITS:] < layer.period)
        )


def _taken(lookahead: Lookahead) -> Value:
    """The activations that are taken of a lookahead in this cycle."""
    return Mux(lookahead.take & lookahead.enough, lookahead.wanted, 0)


class WideRegionWalkHarness(RegionWalkHarness):
    """The same in steps of two positions."""

    component = "RegionWalk, two positions a step"
    positions = 2
    defects = (
        Defect(
            module=_WALK,
            old="ends & (layer.width[:bits] > place)",
            new="ends",
            breaks=_VISITS,
        ),
        Defect(
            module=_WALK,
            old="m.d.sync += ahead.eq(self._positions)",
            new="m.d.sync += ahead.eq(1)",
            breaks=_IN_PATTERN,
        ),
        Defect(
            module=_WALK,
            old="of_pattern = Array(values.values)[sum(self.computed[:place], start=Const(0))]",
            new="of_pattern = values.values[place]",
            breaks=_TAKEN,
        ),
    )


class LookaheadHarness(Harness):
    """Lookahead for two positions a step, whatever is wanted."""

    component = "Lookahead"
    positions = 2
    sizes = "2 positions a step"
    defects = (
        Defect(
            module=_LOOKAHEAD,
            old="taken.eq(Mux(self.take & self.enough, self.wanted, 0))",
            new="taken.eq(Mux(self.take, self.wanted, 0))",
            breaks=_ORDER,
        ),
        Defect(
            module=_LOOKAHEAD,
            old="self.i.ready.eq(left != self._positions)",
            new="self.i.ready.eq(count != self._positions)",
            breaks="an activation is taken a cycle, unless all places stay full",
        ),
        Defect(
            module=_LOOKAHEAD,
            old="Mux(left == place, self.i.payload, following[taken])",
            new="Mux(count == place, self.i.payload, following[taken])",
            breaks=_ORDER,
        ),
    )

    def build(self) -> None:
        positions = self.positions
        config = replace(TINY, predictor_positions=positions)
        dut = self.source(_LOOKAHEAD).Lookahead(config)
        self.m.submodules.dut = dut
        elaborated(dut)
        valid = self.drive(dut.i.valid, "valid")
        payload = self.drive(dut.i.payload, "payload")
        wanted = self.drive(dut.wanted, "wanted")
        take = self.drive(dut.take, "take")
        self.assume(wanted <= positions)
        taken = Mux(take & dut.enough, wanted, 0)
        inside = items_keep_their_order(
            self,
            enters=valid & dut.i.ready,
            item=payload,
            leaving=taken,
            places=list(dut.values),
            capacity=positions,
        )
        self.prove("there is enough where so many are there", dut.enough == (inside >= wanted))
        self.prove(
            "an activation is taken a cycle, unless all places stay full",
            dut.i.ready == (inside - taken != positions),
        )
        self.cover("all leave at once", taken == positions)


class WideLookaheadHarness(LookaheadHarness):
    """The same for four positions a step."""

    positions = 4
    sizes = "4 positions a step"


class SurvivorOrderHarness(Harness):
    """Survivor order of the decisions of four positions."""

    component = "SurvivorOrder"
    sizes = "4 positions a step"
    defects = (
        Defect(
            module=_SURVIVOR_ORDER,
            old="gone.eq(Mux(rest.any(), ~rest & decided.survive, 0))",
            new="gone.eq(Mux(rest.any(), ~rest & left, 0))",
            breaks=_ONE_BY_ONE,
        ),
        Defect(
            module=_SURVIVOR_ORDER,
            old="for place in reversed(range(self._positions - 1)):",
            new="for place in range(self._positions - 1):",
            breaks=_ONE_BY_ONE,
        ),
        Defect(
            module=_SURVIVOR_ORDER,
            old="self.decisions.ready.eq(self.items.ready & ~rest.any())",
            new="self.decisions.ready.eq(self.items.ready)",
            breaks=_ONE_BY_ONE,
        ),
    )

    def build(self) -> None:
        m = self.m
        config = replace(TINY, predictor_positions=4, ofm_words=16, ifm_words=16)
        dut = self.source(_SURVIVOR_ORDER).SurvivorOrder(config)
        m.submodules.dut = dut
        elaborated(dut)
        valid = self.drive(dut.decisions.valid, "valid")
        decided = self.drive(dut.decisions.payload, "decided")
        ready = self.drive(dut.items.ready, "ready")
        survive, item = decided.survive, dut.items.payload
        self.assume(~valid | (survive.any() != decided.end))
        waits = self.register(valid & ~dut.decisions.ready)
        self.assume(~waits | (valid & (self.register(Value.cast(decided)) == Value.cast(decided))))
        leaves = dut.items.valid & ready
        sent = Signal(range(4))
        last = decided.end | (sent + 1 == sum(survive))
        m.d.sync += sent.eq(Mux(leaves, Mux(last, 0, sent + 1), sent))
        expected: Value = Const(0)
        for place, pixel in enumerate(decided.pixels):
            chosen = survive[place] & (sum(survive[:place], start=Const(0)) == sent)
            expected |= chosen & (Value.cast(item.pixel) == Value.cast(pixel))
        self.prove(
            _ONE_BY_ONE,
            (dut.items.valid == valid)
            & (~valid | (item.end == decided.end))
            & (~valid | decided.end | expected)
            & (~valid | (dut.decisions.ready == (ready & last))),
        )
        self.cover("four survivors leave", leaves & (sent == 3))


class AnyRegionWalk(RegionWalk):
    """A walk that may decide any positions, at any pace, until its channel ends."""

    def elaborate(self, platform: object) -> Module:
        return Module()

    def choose(self, harness: Harness) -> Signal:
        """Let the environment choose the walk; returns whether a channel is under way."""
        m = harness.m
        running = Signal(name="walk_running")
        m.d.comb += [
            self.step.eq(running & harness.free(1, "walk_steps")),
            self.decides.eq(self.step & harness.free(1, "walk_decides")),
            self.channel_ends.eq(self.step & harness.free(1, "walk_ends")),
        ]
        for name in ("scored", "row_ends", "decided_in_map"):
            harness.drive(getattr(self, name), f"walk_{name}")
        # Columns of the map are the first of a step: two steps lie between a row's and the next's.
        columns = self.decided_in_map
        harness.assume((columns & (columns + 1)) == 0)
        with m.If(self.channel_ends & self.enable):
            m.d.sync += running.eq(0)
        with m.If(self.begin):
            m.d.sync += running.eq(1)
        return running


class AnyDepthwise(Depthwise):
    """A convolution with any sums and any marks."""

    def elaborate(self, platform: object) -> Module:
        return Module()


class AnySurvivorOrder(SurvivorOrder):
    """A survivor order that takes decisions at any time."""

    def elaborate(self, platform: object) -> Module:
        return Module()


class SurvivorsHarness(Harness):
    """Predictor, from the positions of its walk to its decisions; scores may be any."""

    component = "Predictor, behind its walk"
    positions = 1
    sizes = "as built, but for 128 pixels; any scores, any layers"
    defects: tuple[Defect, ...] = (
        Defect(
            module=_PREDICTOR,
            old="valid.eq(holds | decides)",
            new="valid.eq(decides)",
            breaks=_ORDER,
        ),
        Defect(
            module=_PREDICTOR,
            old="will_hold.eq(~free & (holds | decides))",
            new="will_hold.eq(~free & holds)",
            breaks=_ORDER,
        ),
        Defect(
            module=_PREDICTOR,
            old="index.eq(index + decided), base",
            new="index.eq(index + row_decided), base",
            breaks=_ORDER,
        ),
        Defect(
            module=_PREDICTOR,
            old="(enable & scored).replicate(len(places))",
            new="enable.replicate(len(places))",
            breaks=_DECIDED,
        ),
        Defect(
            module=_PREDICTOR,
            old="m.d.sync += end.eq(channel_ends)",
            new="m.d.sync += end.eq(walk.channel_ends)",
            breaks=_EMPTY,
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_PREDICTOR)
        walks = self.stand_in(module, "RegionWalk", AnyRegionWalk)
        layers = self.stand_in(module, "Depthwise", AnyDepthwise)
        signals = self.named_signals(module)
        orders = self.stand_in(module, "SurvivorOrder", AnySurvivorOrder)
        positions = self.positions
        dut = module.Predictor(replace(TINY, predictor_positions=positions))
        m.submodules.dut = dut
        elaborated(dut)
        (walk,), (layer1, layer2), (order,) = walks, layers, orders
        running = walk.choose(self)
        self.drive(dut.records.valid, "records_valid")
        self.drive(dut.records.payload, "records_payload")
        self.drive(dut.layer, "layer")
        self.drive(dut.start, "start")
        decisions = order.decisions
        ready = self.drive(decisions.ready, "decisions_ready")
        sums = [self.drive(sum_, f"sum_{at}") for at, sum_ in enumerate(layer2.sums)]
        marks = self.drive(layer2.sum_marks, "sum_marks")
        del layer1
        enable = walk.enable

        # What the walk says, as far behind it as the scores are.
        decide, scored, ends = [walk.decides], [walk.scored], [walk.channel_ends]
        columns = [walk.decided_in_map]
        for stages in (decide, scored, ends, columns):
            for _ in range(_DECISION_DELAY):
                stages.append(delayed(m, stages[-1], 1, enable))
        end = delayed(m, ends[-1], 1, enable)
        idle = signals["idle"]
        younger: list[Value] = []
        for stage, ended in enumerate(ends[1:], 1):
            younger.append(
                ~ended | ~(Cat(decide[1:stage]).any() | Cat(ends[1:stage]).any() | running)
            )
        in_work = running | Cat(ends[1:]).any() | end
        self.prove(
            _EMPTY,
            (idle == ~in_work)
            & Cat(younger).all()
            & (~end | ~(Cat(decide[1:]).any() | Cat(ends[1:]).any() | running))
            & (~idle | ~Cat(decide[1:]).any()),
        )
        number = Signal(range(TINY.ofm_words + 1), name="number")
        decides = columns[-1] & (enable & decide[-1]).replicate(positions)
        with m.If(decides.any()):
            m.d.sync += number.eq(number + sum(decides))
        with m.If(walk.begin):
            m.d.sync += number.eq(0)
        record = dut.records.payload
        threshold = Signal.like(Value.cast(record.threshold).as_signed(), reset_less=True)
        with m.If(walk.begin):
            m.d.sync += threshold.eq(record.threshold)
        predicted = decides & ~marks & scored[-1].replicate(positions)
        survive = predicted & Cat(sum_ > threshold for sum_ in sums)
        self.prove(
            _DECIDED,
            (dut.kept == sum(survive)) & (dut.skipped == sum(predicted & ~survive)),
        )
        out = decisions.payload
        bits = len(out.pixels[0].index)
        entering_end = enable & end
        entering = [Mux(survive[at], number + at, 0)[:bits] for at in range(positions)]
        leaving = [Mux(out.survive[at], out.pixels[at].index, 0) for at in range(positions)]
        items_keep_their_order(
            self,
            enters=survive.any() | entering_end,
            item=Cat(*entering, survive, entering_end),
            leaving=decisions.valid & ready,
            places=[Cat(*leaving, out.survive, out.end)],
            capacity=2,
        )
        self.prove(
            "a pixel and a channel's end are not decided at once",
            ~(survive.any() & entering_end),
            given=[_EMPTY],
        )
        stream_is_stable(
            self,
            "decisions are stable",
            decisions.valid,
            ready,
            *leaving,
            out.survive,
            out.end,
        )
        progress(
            self,
            "the predictor goes on where survivors are taken",
            favourable=ready,
            event=enable,
            cycles=2,
        )
        self.prove(
            "a record is taken between two channels", dut.records.ready == ~in_work, given=[_EMPTY]
        )
        self.cover("a survivor is left in the second register", signals["holds"])
        self.cover("a second channel ends", end & self.flag(end, "ended_before"))


class WideSurvivorsHarness(SurvivorsHarness):
    """The same with two positions a step."""

    component = "Predictor, behind its walk, two positions a step"
    positions = 2
    defects = (
        Defect(
            module=_PREDICTOR,
            old="pixels[place].index.eq(index + offset),",
            new="pixels[place].index.eq(index),",
            breaks=_ORDER,
        ),
        Defect(
            module=_PREDICTOR,
            old="self.kept.eq(sum(survive)),",
            new="self.kept.eq(survive.any()),",
            breaks=_DECIDED,
        ),
    )
