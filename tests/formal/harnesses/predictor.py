"""The predictor decides every pixel of `I_t` once, in raster order.

The walk is proved to visit every position in that order, and the rest of the predictor to give each
position that the walk decides its number, and to lose none, whatever the scores are.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value

from golden.pattern import MAX_PERIOD
from hw.layouts.descriptor import LayerDescriptor
from hw.lib.pipeline import delayed
from hw.predictor.depthwise import Depthwise
from hw.predictor.predictor import _DECISION_DELAY
from hw.predictor.region_walk import RegionWalk
from tests.formal.harness import (
    Defect,
    Harness,
    elaborated,
    items_keep_their_order,
    progress,
    stream_is_stable,
)
from tests.hw.small_configs import TINY

__all__ = ["RegionWalkHarness", "SurvivorsHarness"]

_WALK = "hw.predictor.region_walk"
_PREDICTOR = "hw.predictor.predictor"
_VISITS = "the walk visits each position once, in raster order, two rows and columns past the map"
_IN_PATTERN = "a position is computed where the pattern has it, in the map"
_EMPTY = "a channel begins when nothing of the one before is under way"
_DECIDED = "each position that the walk decides is kept or skipped, by its score"
_ORDER = "every item leaves once, unchanged and in order"
_DECIDES = "a position is decided once, where it is in the map and a scored row"


class RegionWalkHarness(Harness):
    """Walk through regions of any size, with any pattern."""

    component = "RegionWalk"
    sizes = f"regions of up to {TINY.ofm_words} rows and {TINY.row_pixels} columns, any patterns"
    defects = (
        Defect(
            module=_WALK,
            old="self._last_row.eq(self._row == layer.scored_end),",
            new="self._last_row.eq(self._row > layer.scored_end),",
            breaks=_VISITS,
        ),
        Defect(
            module=_WALK,
            old="self._row_place.eq(self._place_after),\n                self._restored",
            new="self._restored",
            breaks=_IN_PATTERN,
        ),
        Defect(
            module=_WALK,
            old="self.decides.eq(self.step & self._row[1:].any() & self.col[1:].any())",
            new="self.decides.eq(self.step & self._row.any() & self.col[1:].any())",
            breaks=_DECIDES,
        ),
        Defect(
            module=_WALK,
            old="self.values.ready.eq(self._running & takes & self.enable)",
            new="self.values.ready.eq(self._running & takes)",
            breaks="an activation is taken for each position that has one, from where it comes",
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_WALK)
        signals = self.named_signals(module)
        dut = module.RegionWalk(TINY)
        m.submodules.dut = dut
        elaborated(dut)
        enable = self.drive(dut.enable, "enable")
        for stream in (dut.recalled, dut.values):
            self.drive(stream.valid, f"{'recalled' if stream is dut.recalled else 'values'}_valid")
            self.drive(
                stream.payload, f"{'recalled' if stream is dut.recalled else 'values'}_payload"
            )
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

        # The position, and its place in the pattern.
        row = Signal(range(TINY.ofm_words + 3), name="row_reference")
        col = Signal(range(TINY.row_pixels + 3), name="col_reference")
        place = Signal(range(MAX_PERIOD), name="place_reference")
        of_row = Signal(range(MAX_PERIOD), name="row_place_reference")

        def following(residue: Value) -> Value:
            return Mux(residue == period - 1, 0, residue + 1)[: len(place)]

        goes_on = dut.step & enable
        row_ends = col == width + 1
        ends = row_ends & (row == layer.scored_end + 1)
        with m.If(goes_on):
            m.d.sync += [
                col.eq(Mux(row_ends, 0, col + 1)),
                row.eq(row + row_ends),
                place.eq(Mux(row_ends, following(of_row), following(place))),
            ]
            with m.If(row_ends):
                m.d.sync += of_row.eq(following(of_row))
            with m.If(ends):
                m.d.sync += running.eq(0)
        with m.If(begin):
            m.d.sync += [running.eq(1), col.eq(0), row.eq(0), place.eq(0), of_row.eq(0)]

        in_row, in_col = row < height, col < width
        in_map = in_row & in_col
        is_computed = in_map & layer.pattern.bit_select(place, 1)
        restored = row < layer.first_row
        self.prove(
            _VISITS,
            (signals["running"] == running)
            & (
                ~running
                | (
                    (dut.col == col)
                    & (signals["row"] == row)
                    & (dut.row_ends == row_ends)
                    & (signals["last_row"] == (row == layer.scored_end + 1))
                    & (row <= layer.scored_end + 1)
                    & (col <= width + 1)
                    & (dut.col_in_map == in_col)
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
                & (signals["in_pattern"] == layer.pattern.bit_select(place, 1))
                & (signals["place"] == following(place))
                & (signals["row_place"] == following(of_row))
                & (place < period)
                & (of_row < period)
                & (signals["last_place"] == period - 1)
            ),
            given=[_VISITS],
        )
        self.prove(
            _DECIDES,
            (dut.decides == (dut.step & (row >= 2) & (col >= 2)))
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
        takes = (is_computed & ~restored) & running
        recalls = in_map & restored & running
        self.prove(
            "an activation is taken for each position that has one, from where it comes",
            ((dut.values.valid & dut.values.ready) == (goes_on & takes))
            & ((dut.recalled.valid & dut.recalled.ready) == (goes_on & recalls))
            & (~running | (signals["restored"] == restored) | ~in_row)
            & (
                ~goes_on
                | (
                    dut.value
                    == Mux(is_computed, Mux(restored, dut.recalled.payload, dut.values.payload), 0)
                )
            ),
            given=[_VISITS, _IN_PATTERN],
        )
        progress(
            self,
            "the walk goes on where activations are there",
            favourable=running & dut.recalled.valid & dut.values.valid & enable,
            event=goes_on,
            cycles=1,
            given=[_VISITS],
        )
        self.cover("a channel ends", dut.channel_ends & enable)

    def _is_legal(self, layer: Any) -> Value:
        """What was assumed of the layer as its channel began."""
        return (
            (layer.width != 0)
            & (layer.width <= TINY.row_pixels)
            & (layer.height != 0)
            & (layer.height <= TINY.ofm_words)
            & (layer.scored_end >= 1)
            & (layer.scored_end <= layer.height)
            & (layer.scored_row < layer.scored_end)
            & (layer.first_row <= layer.height)
            & (layer.period != 0)
            & (layer.period <= MAX_PERIOD)
        )


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
        for name in ("scored", "row_ends"):
            harness.drive(getattr(self, name), f"walk_{name}")
        with m.If(self.channel_ends & self.enable):
            m.d.sync += running.eq(0)
        with m.If(self.begin):
            m.d.sync += running.eq(1)
        return running


class AnyDepthwise(Depthwise):
    """A convolution with any sums and any marks."""

    def elaborate(self, platform: object) -> Module:
        return Module()


class SurvivorsHarness(Harness):
    """Predictor, from the positions of its walk to the survivors; scores may be any."""

    component = "Predictor, behind its walk"
    sizes = "as built, but for 128 pixels; any scores, any layers"
    defects = (
        Defect(
            module=_PREDICTOR,
            old="self.survivors.valid.eq(holds | decides)",
            new="self.survivors.valid.eq(decides)",
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
            old="index.eq(index + 1), base",
            new="index.eq(index + row_ends), base",
            breaks=_ORDER,
        ),
        Defect(
            module=_PREDICTOR,
            old="decide & scored & ~layer2.sum_mark",
            new="decide & ~layer2.sum_mark",
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
        dut = module.Predictor(TINY)
        m.submodules.dut = dut
        elaborated(dut)
        (walk,), (layer1, layer2) = walks, layers
        running = walk.choose(self)
        self.drive(dut.records.valid, "records_valid")
        self.drive(dut.records.payload, "records_payload")
        self.drive(dut.layer, "layer")
        self.drive(dut.start, "start")
        ready = self.drive(dut.survivors.ready, "survivors_ready")
        sum_ = self.drive(layer2.sum, "sum")
        mark = self.drive(layer2.sum_mark, "sum_mark")
        del layer1
        enable = walk.enable

        # What the walk says, as far behind it as the scores are.
        decide, scored, ends = [walk.decides], [walk.scored], [walk.channel_ends]
        for stages in (decide, scored, ends):
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
        decides = enable & decide[-1]
        with m.If(decides):
            m.d.sync += number.eq(number + 1)
        with m.If(walk.begin):
            m.d.sync += number.eq(0)
        record = dut.records.payload
        threshold = Signal.like(Value.cast(record.threshold).as_signed(), reset_less=True)
        with m.If(walk.begin):
            m.d.sync += threshold.eq(record.threshold)
        self.prove(
            _DECIDED,
            ((dut.kept | dut.skipped) == (decides & scored[-1] & ~mark))
            & ~(dut.kept & dut.skipped)
            & (~dut.kept | (sum_ > threshold))
            & (~dut.skipped | (sum_ <= threshold)),
        )
        item = dut.survivors.payload
        bits = len(item.pixel.index)
        entering_end = enable & end
        items_keep_their_order(
            self,
            enters=dut.kept | entering_end,
            item=Cat(Mux(entering_end, 0, number)[:bits], entering_end),
            leaving=dut.survivors.valid & ready,
            places=[Cat(Mux(item.end, 0, item.pixel.index)[:bits], item.end)],
            capacity=2,
        )
        self.prove(
            "a pixel and a channel's end are not decided at once",
            ~(dut.kept & entering_end),
            given=[_EMPTY],
        )
        stream_is_stable(
            self, "survivors are stable", dut.survivors.valid, ready, item.pixel.index, item.end
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
