"""The width converters lose nothing, make nothing and keep the order, under any stalls."""

from __future__ import annotations

from amaranth import Mux, Signal
from amaranth.hdl import Value

from tests.formal.harness import (
    Defect,
    Harness,
    items_keep_their_order,
    progress,
    stream_is_stable,
)

__all__ = ["DownsizerHarness", "UpsizerHarness"]

_MODULE = "hw.lib.width_converter"
_BITS, _RATIO = 8, 4


class UpsizerHarness(Harness):
    """Upsizer: beats in, words out."""

    component = "Upsizer"
    sizes = f"{_RATIO} beats of {_BITS} bits a word"
    defects = (
        Defect(
            module=_MODULE,
            old="complete.eq(0)]",
            new="complete.eq(1)]",
            breaks="no item leaves that has not entered",
        ),
        Defect(
            module=_MODULE,
            old="self.i.ready.eq(~(complete & self.o.valid))",
            new="self.i.ready.eq(1)",
            breaks="every item leaves once, unchanged and in order",
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.dut = dut = self.source(_MODULE).Upsizer(_BITS, _RATIO)
        for name in ("i_valid", "i_payload", "o_ready"):
            port, member = name.split("_")
            self.drive(getattr(getattr(dut, port), member), name)
        enters = dut.i.valid & dut.i.ready
        leaves = dut.o.valid & dut.o.ready
        inside = items_keep_their_order(
            self,
            enters=enters,
            item=dut.i.payload,
            leaving=Mux(leaves, _RATIO, 0),
            places=[dut.o.payload.word_select(beat, _BITS) for beat in range(_RATIO)],
            capacity=3 * _RATIO,
        )
        stream_is_stable(self, "words are stable", dut.o.valid, dut.o.ready, dut.o.payload)
        self.prove("`waiting` says that a word is complete", dut.waiting | (inside < _RATIO))
        progress(
            self, "a beat is taken", favourable=dut.i.valid & dut.o.ready, event=enters, cycles=2
        )
        progress(self, "a word leaves", favourable=inside >= _RATIO, event=dut.o.valid, cycles=2)


class DownsizerHarness(Harness):
    """Downsizer: words in, beats out."""

    component = "Downsizer"
    sizes = f"{_RATIO} beats of {_BITS} bits a word"
    defects = (
        Defect(
            module=_MODULE,
            old="self.i.ready.eq(self.o.ready & last)",
            new="self.i.ready.eq(last)",
            breaks="a word's beats leave in order, and then it is taken",
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.dut = dut = self.source(_MODULE).Downsizer(_BITS, _RATIO)
        valid = self.drive(dut.i.valid, "i_valid")
        self.drive(dut.i.payload, "i_payload")
        self.drive(dut.o.ready, "o_ready")
        waits = self.register(valid & ~dut.i.ready)
        same: Value = self.register(dut.i.payload) == dut.i.payload
        self.assume(~waits | (valid & same))

        beat = Signal(range(_RATIO))
        m.d.sync += beat.eq(beat + (dut.o.valid & dut.o.ready))
        self.prove("a beat is offered exactly while a word is there", dut.o.valid == valid)
        self.prove(
            "a word's beats leave in order, and then it is taken",
            ((dut.i.ready & valid) == (dut.o.valid & dut.o.ready & (beat == _RATIO - 1)))
            & (~dut.o.valid | (dut.o.payload == dut.i.payload.word_select(beat, _BITS))),
        )
        stream_is_stable(self, "beats are stable", dut.o.valid, dut.o.ready, dut.o.payload)
        progress(
            self,
            "a word is taken",
            favourable=valid & dut.o.ready,
            event=dut.i.ready & valid,
            cycles=_RATIO,
        )
        self.cover("a word has left", dut.i.ready & valid)
