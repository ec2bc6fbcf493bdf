"""The compactor gathers every pixel once, in order, and never stands still, under any stalls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth import Cat, Const, Mux, Signal
from amaranth.hdl import Value

from tests.formal.harness import (
    Defect,
    Harness,
    items_keep_their_order,
    progress,
    stream_is_stable,
)
from tests.hw.small_configs import TINY

__all__ = ["CompactorHarness", "NeighboursHarness", "WideCompactorHarness"]

_MODULE = "hw.engine.compactor"
_ORDER = "every item leaves once, unchanged and in order"


class CompactorHarness(Harness):
    """Compactor of any pixels."""

    component = "Compactor"
    pes = 2
    compact = True
    sizes = "2 PEs, 16 pixels, 16 words of ifm"
    defects = (
        Defect(
            module=_MODULE,
            old="m.d.comb += self.items.ready.eq(~waiting)",
            new="m.d.comb += self.items.ready.eq(1)",
            breaks=_ORDER,
        ),
        Defect(
            module=_MODULE,
            old="completes = taken & (item.end | (count == pes - 1))",
            new="completes = taken & (count == pes - 1)",
            breaks="an end leaves",
        ),
    )

    def build(self) -> None:
        m = self.m
        config = replace(TINY, pes=self.pes, compact=self.compact, ofm_words=16, ifm_words=16)
        m.submodules.dut = dut = self.source(_MODULE).Compactor(config)
        valid = self.drive(dut.items.valid, "items_valid")
        item = self.drive(dut.items.payload, "items_payload")
        ready = self.drive(dut.vectors.ready, "vectors_ready")
        enters = valid & dut.items.ready
        vector = dut.vectors.payload
        leaves = dut.vectors.valid & ready

        pixels = sum(vector.mask)
        pixel_bits = len(Value.cast(item.pixel))
        end = Cat(Const(0, pixel_bits), Const(1, 1))
        places = [
            Mux(pixels == place, end, Cat(vector.pixels[place], Const(0, 1)))
            for place in range(self.pes)
        ]
        inside = items_keep_their_order(
            self,
            enters=enters,
            item=Cat(Mux(item.end, 0, Value.cast(item.pixel))[:pixel_bits], item.end),
            leaving=Mux(leaves, pixels + vector.end, 0),
            places=[*places, end],
            capacity=2 * (self.pes + 1),
        )
        if not self.compact:
            self._pixels_come_in_raster_order(enters, item)
        else:
            self.prove(
                "only a channel's last vector is not full",
                ~dut.vectors.valid | vector.end | vector.mask.all(),
            )
            progress(
                self,
                "a full vector leaves",
                favourable=inside >= self.pes,
                event=dut.vectors.valid,
                cycles=2,
            )
        self.prove(
            "places are filled from the lowest up",
            ~dut.vectors.valid | ((vector.mask & (vector.mask + 1)) == 0),
        )
        ends = Signal(range(4))
        m.d.sync += ends.eq(ends + (enters & item.end) - (leaves & vector.end))
        progress(self, "an end leaves", favourable=ends != 0, event=dut.vectors.valid, cycles=2)
        stream_is_stable(self, "vectors are stable", dut.vectors.valid, ready, vector)
        progress(self, "an item is taken", favourable=valid & ready, event=enters, cycles=3)

    def _pixels_come_in_raster_order(self, enters: Value, item: Any) -> None:
        """Pixels come as scheduler and predictor give them; else `gathered` would overflow."""
        first, before = Signal(init=1), Signal(len(item.pixel.index))
        with self.m.If(enters):
            self.m.d.sync += [first.eq(item.end), before.eq(item.pixel.index)]
        self.assume(first | item.end | (item.pixel.index > before))


class WideCompactorHarness(CompactorHarness):
    """The same with four PEs."""

    pes = 4
    sizes = "4 PEs, 16 pixels, 16 words of ifm"


class NeighboursHarness(CompactorHarness):
    """Compactor of neighbours, which exists to be compared with."""

    compact = False
    sizes = "2 PEs, without compaction, 16 pixels, 16 words of ifm"
    defects = (
        Defect(
            module=_MODULE,
            old="m.d.comb += self.items.ready.eq(room | ~completes)",
            new="m.d.comb += self.items.ready.eq(1)",
            breaks="vectors are stable",
        ),
        Defect(
            module=_MODULE,
            old="count.eq(~item.end),",
            new="count.eq(1),",
            breaks=_ORDER,
        ),
    )
