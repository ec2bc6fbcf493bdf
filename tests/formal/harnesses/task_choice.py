"""The choice of tasks and the channel window: at most two channels are in work, and none waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth import Mux, Signal
from amaranth.hdl import Value

from tests.formal.harness import Defect, Harness, elaborated, progress
from tests.hw.small_configs import TINY

__all__ = ["ChannelOrderHarness", "TaskChoiceHarness"]

_CHOICE = "hw.engine.task_choice"
_WINDOW = "hw.engine.channel_window"
_RETIRES = "the oldest channel retires soon where its passes have ended and its results are stored"
_CONFIG = replace(TINY, ofm_words=16, ifm_words=16)


class TaskChoiceHarness(Harness):
    """Choice between two streams of vectors."""

    component = "TaskChoice"
    sizes = "2 PEs, 16 pixels, 16 words of ifm"
    defects = (
        Defect(
            module=_CHOICE,
            old="                & ~self.survivors_done\n",
            new="",
            breaks="no survivor is taken when its channel's have ended",
        ),
        Defect(
            module=_CHOICE,
            old="pattern_issued = self.issued & ~survivor_offer",
            new="pattern_issued = self.issued",
            breaks="a task is the vector that is taken, and no vector is lost",
        ),
        Defect(
            module=_CHOICE,
            old="m.d.sync += admitted.eq(~(self.blocked | self.pattern_ends))",
            new="m.d.sync += admitted.eq(~self.blocked)",
            breaks="nothing of `I_s` is taken in the cycle after it is blocked, or has ended",
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.dut = dut = self.source(_CHOICE).TaskChoice(_CONFIG)
        for stream in ("pattern", "survivors"):
            self.drive(getattr(dut, stream).valid, f"{stream}_valid")
            vector = self.drive(getattr(dut, stream).payload, f"{stream}_payload")
            self.assume((vector.mask & (vector.mask + 1)) == 0)  # filled from the lowest up
            self.assume(vector.end | vector.mask[0])  # only a last vector may be empty
        for name in ("oldest", "scheduled", "oldest_weights", "scheduled_weights"):
            self.drive(getattr(dut, name), name)
        for name in ("survivors_done", "survivors_blocked", "blocked", "values_blocked"):
            self.drive(getattr(dut, name), name)
        self.drive(dut.tasks.ready, "tasks_ready")

        task, issued = dut.tasks.payload, dut.tasks.valid & dut.tasks.ready
        pattern, survivors = dut.pattern.payload, dut.survivors.payload
        takes_pattern = dut.pattern.valid & dut.pattern.ready
        takes_survivors = dut.survivors.valid & dut.survivors.ready
        from_pattern = takes_pattern & pattern.mask[0]
        from_survivors = takes_survivors & survivors.mask[0]

        def is_task_of(vector: Any, *, survivor: int, channel: Value, weights: Value) -> Value:
            return (
                (Value.cast(task.pixels) == Value.cast(vector.pixels))
                & (task.mask == vector.mask)
                & (task.tag.survivor == survivor)
                & (task.tag.channel == channel)
                & (task.weight_base == weights)
            )

        self.prove("a task is issued when it is taken", dut.issued == issued)
        self.prove(
            "a task is the vector that is taken, and no vector is lost",
            (issued == (from_pattern | from_survivors))
            & ~(from_pattern & from_survivors)
            & (
                ~from_survivors
                | is_task_of(survivors, survivor=1, channel=dut.oldest, weights=dut.oldest_weights)
            )
            & (
                ~from_pattern
                | is_task_of(
                    pattern, survivor=0, channel=dut.scheduled, weights=dut.scheduled_weights
                )
            ),
        )
        self.prove(
            "no survivor is taken when its channel's have ended",
            ~(takes_survivors & dut.survivors_done),
        )
        held_back = dut.survivors_done | (survivors.mask[0] & dut.survivors_blocked)
        survivors_wait = dut.survivors.valid & ~held_back
        self.prove("no blocked survivor is taken", ~(from_survivors & dut.survivors_blocked))
        self.prove(
            "survivors go first",
            ~(from_pattern & survivors_wait & survivors.mask[0]),
        )
        held_up = self.register(dut.blocked | dut.pattern_ends, init=1)
        self.prove(
            "nothing of `I_s` is taken in the cycle after it is blocked, or has ended",
            ~(takes_pattern & held_up),
        )
        self.prove(
            "no task of `I_s` is taken without room for its values",
            ~(from_pattern & dut.values_blocked),
        )
        self.prove(
            "the ends are those of the vectors that are taken",
            (dut.pattern_ends == (takes_pattern & pattern.end))
            & (dut.survivors_end == (takes_survivors & survivors.end)),
        )
        self.prove(
            "a survivors' vector is taken as soon as the array takes a task",
            ~(survivors_wait & dut.tasks.ready) | takes_survivors,
        )
        progress(
            self,
            "a vector of `I_s` is taken soon where no survivor is there and nothing blocks it",
            favourable=dut.pattern.valid
            & ~survivors_wait
            & dut.tasks.ready
            & ~dut.blocked
            & ~dut.values_blocked,
            event=takes_pattern,
            cycles=2,
        )
        self.cover("an empty vector is taken beside a task", takes_survivors & from_pattern)


class ChannelOrderHarness(Harness):
    """Choice of tasks and channel window, connected as the engine connects them."""

    component = "ChannelWindow, with TaskChoice"
    sizes = "2 PEs, 4 channels a group, any number of channels"
    defects = (
        Defect(
            module=_WINDOW,
            old="self.full.eq(ahead == 2),",
            new="self.full.eq(ahead == 3),",
            breaks="at most two channels are in work",
        ),
        Defect(
            module=_WINDOW,
            old="                & ~self.retired\n            ),\n            ahead",
            new="            ),\n            ahead",
            breaks="a channel retires when its pass has ended, and once",
        ),
        Defect(
            module=_WINDOW,
            old="                & (ahead != 0)\n",
            new="                & (ahead == 2)\n",
            breaks=_RETIRES,
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.choice = choice = self.source(_CHOICE).TaskChoice(_CONFIG)
        module = self.source(_WINDOW)
        signals = self.named_signals(module)
        m.submodules.window = window = module.ChannelWindow(_CONFIG)
        elaborated(window)
        for stream in ("pattern", "survivors"):
            self.drive(getattr(choice, stream).valid, f"{stream}_valid")
            self.drive(getattr(choice, stream).payload, f"{stream}_payload")
        self.drive(choice.values_blocked, "values_blocked")
        self.drive(choice.survivors_blocked, "survivors_blocked")
        self.drive(choice.tasks.ready, "tasks_ready")
        events = ("stored", "stored_parity", "record_loaded", "residual_loaded", "slice_loaded")
        for name in (*events, "rows_restored", "bank_drained", "start", "running", "zap"):
            self.drive(getattr(window, name), name)
        self.drive(window.layer, "layer")
        m.d.comb += [
            window.pattern_ends.eq(choice.pattern_ends),
            window.survivors_end.eq(choice.survivors_end),
            window.issued.eq(choice.issued),
            window.issued_parity.eq(choice.tasks.payload.tag.channel[0]),
            choice.oldest.eq(window.oldest),
            choice.scheduled.eq(window.scheduled),
            choice.oldest_weights.eq(window.oldest_weights),
            choice.scheduled_weights.eq(window.scheduled_weights),
            choice.survivors_done.eq(window.survivors_done),
            choice.blocked.eq(window.full | window.loads_missing | window.banks_taken),
        ]
        # Channels whose pass of `I_s` has ended and that have not retired.
        ahead = Signal(3)
        m.d.sync += ahead.eq(ahead + choice.pattern_ends - window.retired)
        with m.If(window.start):
            m.d.sync += ahead.eq(0)
        # A layer starts when every channel of the one before has retired, and before it runs.
        at_rest = (ahead == 0) & ~window.retired & ~choice.pattern_ends & ~window.running
        self.assume(~window.start | at_rest)
        self.prove("at most two channels are in work", ahead <= 2)
        self.prove(
            "a channel retires when its pass has ended, and once",
            ~window.retired | ((ahead != 0) & ~self.register(window.retired)),
        )
        self.prove(
            "the passes are apart by the channels in work",
            (window.scheduled - window.oldest)[:3] == ahead,
        )
        in_flight = Mux(window.oldest[0], signals["in_flight_1"], signals["in_flight_0"])
        progress(
            self,
            _RETIRES,
            favourable=window.running
            & (window.survivors_done | ~window.zap)
            & (ahead != 0)
            & (in_flight == 0)
            & (~signals["restores"] | (signals["halo_ready"] != 0)),
            event=window.retired,
            cycles=2,
            given=["at most two channels are in work"],
        )
        self.cover("two channels are in work", ahead == 2)
