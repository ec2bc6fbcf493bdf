"""The drain's walk reads each pixel once, and the queues of drain and halo rows never overflow."""

from __future__ import annotations

from typing import Any

from amaranth import Mux, Signal
from amaranth.hdl import Value

from hw.layouts.descriptor import LayerDescriptor
from tests.formal.harness import Defect, Harness, elaborated, in_state, progress
from tests.hw.small_configs import TINY

__all__ = ["HaloRowsHarness", "OfmDrainHarness", "WindowWalkHarness"]

_DRAIN = "hw.engine.ofm_drain"
_HALO = "hw.engine.halo_rows"
_WALK = "hw.engine.window_walk"
_COMBINED = 3
"""Cycles from a tap until its window's word is in the queue of the drain."""
_READ = 2
"""Cycles from a bank's address to its word."""
_RESERVED = "a place in the queue is reserved for every word on its way, and for no other"
_NEVER_FULL = "no word finds the queue full, and none is lost"
_GOES_ON = "the walk goes on where words are taken"
_EACH_ONCE = "each pixel is read once, in raster order, and then the walk is done"
_RECALLED = "a value is recalled soon where its rows are there"
_CLEAR = "rows are restored to a bank that is clear, as many as the strip has"


class OfmDrainHarness(Harness):
    """Drain with its walk, on layers of any size, pooled in any way."""

    component = "OfmDrain"
    sizes = f"{TINY.group} channels a group, banks of {TINY.ofm_words} pixels, any poolings"
    depth = 6
    defects = (
        Defect(
            module=_DRAIN,
            old="walk.ready.eq(reserved != _QUEUE)",
            new="walk.ready.eq(1)",
            breaks=_RESERVED,
        ),
        Defect(
            module=_DRAIN,
            old="ends & (walk.spilling | ~pool.average)",
            new="ends & ~pool.average",
            breaks=_RESERVED,
        ),
        Defect(
            module=_DRAIN,
            old="self.idle.eq(walk.resting & (reserved == 0))",
            new="self.idle.eq(walk.resting & ~queue.r_rdy)",
            breaks="an idle drain has no word on its way",
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_DRAIN)
        signals = self.named_signals(module)
        queues = self.stand_in(module, "SyncFIFO", module.SyncFIFO)
        walks = self.stand_in(module, "WindowWalk", module.WindowWalk)
        dut = module.OfmDrain(TINY)
        m.submodules.dut = dut
        elaborated(dut)
        (queue,), (walk,) = queues, walks
        state = elaborated(walk)
        self.drive(dut.go, "go")
        self.drive(dut.word, "word")
        ready = self.drive(dut.words.ready, "words_ready")
        # The layer changes while nothing leaves.
        layer: Any = Signal(LayerDescriptor(TINY), name="layer", reset_less=True)
        with m.If(in_state(state, "REST") & dut.idle):
            m.d.sync += layer.eq(self.free(layer.shape(), "layer_chosen"))
        m.d.comb += dut.layer.eq(layer)

        ends = walk.tap & walk.last
        averages = in_state(state, "AVERAGE")
        on_their_way = [self.register(ends & (walk.spilling | ~layer.pool.average))]
        for _ in range(_COMBINED - 1):
            on_their_way.append(self.register(on_their_way[-1]))
        reserved = signals["reserved"]
        self.prove(
            _RESERVED,
            (reserved == queue.level + sum(on_their_way) + averages) & (reserved <= queue.depth),
        )
        self.prove(
            _NEVER_FULL,
            (~queue.w_en | queue.w_rdy)
            & (queue.w_en == (on_their_way[-1] | walk.averaged))
            & ~(on_their_way[-1] & walk.averaged),
            given=[_RESERVED],
        )
        self.prove(
            "an idle drain has no word on its way",
            ~dut.idle
            | ~(in_state(state, "READ") | walk.spilling | averages | (queue.level != 0))
            & (sum(on_their_way) == 0),
            given=[_RESERVED],
        )
        progress(
            self,
            _GOES_ON,
            favourable=ready & (in_state(state, "READ") | walk.spilling),
            event=walk.tap,
            cycles=_COMBINED + 2,
            given=[_RESERVED, _NEVER_FULL],
        )
        self.cover("the queue is full", queue.level == queue.depth)


class HaloRowsHarness(Harness):
    """Halo rows of strips of any size."""

    component = "HaloRows"
    sizes = f"{TINY.group} channels a group, banks of {TINY.ofm_words} pixels, any strips"
    depth = 6
    defects = (
        Defect(
            module=_HALO,
            old="reads.eq((held != 0) & (reserved != _QUEUE))",
            new="reads.eq(held != 0)",
            breaks=_RESERVED,
        ),
        Defect(
            module=_HALO,
            old="wanted.eq((channels_left > 0) & (clear != 0) & ~self.start)",
            new="wanted.eq((channels_left > 0) & ~self.start)",
            breaks=_CLEAR,
        ),
        Defect(
            module=_HALO,
            old="wanted.eq((channels_left > 0)",
            new="wanted.eq((channels_left >= 0)",
            breaks=_CLEAR,
        ),
        Defect(
            module=_HALO,
            old="reads.eq((held != 0) & (reserved != _QUEUE))",
            new="reads.eq((held != 0) & (reserved == 0))",
            breaks=_RECALLED,
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_HALO)
        signals = self.named_signals(module)
        queues = self.stand_in(module, "SyncFIFO", module.SyncFIFO)
        dut = module.HaloRows(TINY)
        m.submodules.dut = dut
        elaborated(dut)
        (queue,) = queues
        start = self.drive(dut.start, "start")
        drained = self.drive(dut.drained, "drained")
        self.drive(dut.words.valid, "words_valid")
        self.drive(dut.words.payload, "words_payload")
        self.drive(dut.writes.ready, "writes_ready")
        self.drive(dut.word, "word")
        ready = self.drive(dut.recalled.ready, "recalled_ready")
        taken = dut.words.valid & dut.words.ready

        # A strip stays the same from its start on.
        layer: Any = Signal(LayerDescriptor(TINY), name="layer", reset_less=True)
        chosen: Any = self.free(layer.shape(), "layer_chosen")
        now: Any = Signal(layer.shape(), name="layer_now")
        m.d.comb += [Value.cast(now).eq(Mux(start, Value.cast(chosen), Value.cast(layer)))]
        m.d.sync += layer.eq(now)
        m.d.comb += dut.layer.eq(now)
        self.assume(~start | ((now.restored <= TINY.ofm_words) & (now.channels != 0)))

        # Words of the group under way, groups that are to come, and banks that are not clear.
        place = Signal(range(TINY.ofm_words), name="place")
        groups = Signal(layer.channels.shape(), name="groups")
        filled = Signal(range(3), name="filled")
        bank = Signal(name="bank_filled")
        last = taken & (place == (now.restored - 1)[: len(place)])
        m.d.sync += [
            place.eq(Mux(last, 0, place + taken)),
            groups.eq(groups - last),
            filled.eq(filled + last - drained),
            bank.eq(bank ^ last),
        ]
        of_group = TINY.group
        with m.If(start):
            m.d.sync += [
                place.eq(0),
                groups.eq(Mux(now.restored != 0, (now.channels + of_group - 1) // of_group, 0)),
                filled.eq(0),
                bank.eq(0),
            ]
        # A bank is drained when it is full. A strip starts when the one before has ended.
        self.assume(~drained | (filled != 0))
        self.assume(~start | ((groups == 0) & (filled == 0) & (place == 0) & ~drained))

        target, left = dut.writes.payload, signals["channels_left"]
        self.prove(
            _CLEAR,
            (~taken | ((groups != 0) & (filled < 2)))
            & (signals["clear"] + filled == Mux(self._started(start), 2, 0))
            & ((groups != 0) == (left > 0))
            & (groups == (Mux(left > 0, left, 0) + of_group - 1) // of_group)
            & (filled <= 2)
            & (target.index == place)
            & (target.bank == bank),
        )
        self.prove(
            "a word is written as it is taken, unchanged",
            (taken == (dut.writes.valid & dut.writes.ready)) & (target.word == dut.words.payload),
        )
        reads = signals["reads"]
        on_their_way = [self.register(reads)]
        for _ in range(_READ - 1):
            on_their_way.append(self.register(on_their_way[-1]))
        reserved = signals["reserved"]
        self.prove(
            _RESERVED,
            (reserved == queue.level + sum(on_their_way)) & (reserved <= queue.depth),
        )
        self.prove(
            _NEVER_FULL,
            (~queue.w_en | queue.w_rdy) & (queue.w_en == on_their_way[-1]),
            given=[_RESERVED],
        )
        progress(
            self,
            _RECALLED,
            favourable=ready & (signals["held"] != 0),
            event=reads,
            cycles=2,
            given=[_RESERVED],
        )
        self.cover("both banks are filled", filled == 2)
        self.cover("the queue is full", queue.level == queue.depth)

    def _started(self, start: Value) -> Signal:
        """A strip has started since the reset."""
        return self.flag(start, "started")


class WindowWalkHarness(Harness):
    """Walk through banks of layers without pooling, which read each pixel once."""

    component = "WindowWalk"
    sizes = f"layers without pooling of up to {TINY.ofm_words} pixels"
    defects = (
        Defect(
            module=_WALK,
            old="*self._rows.advance(),\n",
            new="",
            breaks=_EACH_ONCE,
        ),
        Defect(
            module=_WALK,
            old="self._left + pool.stride_width)",
            new="self._left)",
            breaks=_EACH_ONCE,
        ),
    )

    def build(self) -> None:
        m = self.m
        dut = self.source(_WALK).WindowWalk(TINY, average_cycles=4)
        m.submodules.dut = dut
        state = elaborated(dut)
        go = self.drive(dut.go, "go")
        self.drive(dut.ready, "ready")
        resting, reading, done = (in_state(state, name) for name in ("REST", "READ", "DONE"))
        # The layer changes while the walk rests.
        layer: Any = Signal(LayerDescriptor(TINY), name="layer", reset_less=True)
        with m.If(resting & ~go):
            m.d.sync += layer.eq(self.free(layer.shape(), "layer_chosen"))
        m.d.comb += dut.layer.eq(layer)
        pool, width, height = layer.pool, layer.width, layer.height
        plain = (
            (width != 0)
            & (height != 0)
            & (layer.pixels == width * height)
            & (layer.pixels <= TINY.ofm_words)
            & (layer.spilled == 0)
            & ~pool.average
            & (pool.height == height)
            & (pool.width == width)
            & (pool.line_step == width[: len(pool.line_step)])
        )
        for name in ("kernel_height", "kernel_width", "stride_height", "stride_width"):
            plain &= pool[name] == 1
        for name in ("top", "left", "first_line"):
            plain &= pool[name] == 0
        self.assume(~(resting & go) | plain)

        place = Signal(range(TINY.ofm_words + 1), name="place")
        row, col = (Signal(range(TINY.ofm_words + 1), name=name) for name in ("row", "col"))
        first = Signal(range(TINY.ofm_words + 1), name="row_first")  # the row's first pixel
        last = col == width - 1
        with m.If(dut.tap):
            m.d.sync += [
                place.eq(place + 1),
                col.eq(Mux(last, 0, col + 1)),
                row.eq(row + last),
                first.eq(Mux(last, first + width, first)),
            ]
        with m.If(resting & go):
            m.d.sync += [place.eq(0), row.eq(0), col.eq(0), first.eq(0)]
        ends = last & (row == height - 1)
        address = (first + col)[: len(dut.address)]
        self.prove(
            _EACH_ONCE,
            (~dut.tap | (dut.inside & (dut.address == place[: len(dut.address)])))
            & (resting | reading | done)
            & (~done | (place == layer.pixels))
            & (
                ~reading
                | (
                    plain
                    & (place == first + col)
                    & (first == row * width)
                    & (row < height)
                    & (col < width)
                    & (dut.address == address)
                    & dut.last
                    & (dut._col == col)
                    & (dut._row == row)
                    & (dut._left == col)
                    & (dut._top == row)
                    & (dut._line == first[: len(dut._line)])
                    & (dut._top_line == first[: len(dut._line)])
                    & (dut._cols._left == width - col)
                    & (dut._rows._left == height - row)
                    & (dut._cols.last == last)
                    & (dut._rows.last == (row == height - 1))
                    & (dut._taps._left == 1)
                    & (dut._tap_rows._left == 1)
                )
            ),
        )
        self.prove(
            "the walk is done after the last pixel",
            dut.done == self.register(dut.tap & ends),
            given=[_EACH_ONCE],
        )
        self.cover("a bank of several rows has been read", done & (row == 2))
