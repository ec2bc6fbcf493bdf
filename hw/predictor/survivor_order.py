"""Survivor order: hands out the survivors of a step one after another."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import Config
from hw.layouts.pixels import Pixel, PixelOrEnd

__all__ = ["Decisions", "SurvivorOrder"]


class Decisions(data.StructLayout):
    """The positions of a step, and a bit for each that survives; or the end of a channel."""

    def __init__(self, config: Config) -> None:
        positions = config.predictor_positions
        super().__init__(
            {
                "pixels": data.ArrayLayout(Pixel(config), positions),
                "survive": positions,
                "end": 1,
            }
        )


class SurvivorOrder(wiring.Component):
    """Makes a stream of pixels of a stream of decisions, one a cycle.

    That is as many as the array has results, so more survivors in a cycle would only wait there.

    Members
    -------
    decisions : In(stream of Decisions)
        Each with a survivor at least, or with an end and none.
    items : Out(stream of PixelOrEnd)
    """

    decisions: stream.Interface
    items: stream.Interface

    def __init__(self, config: Config) -> None:
        self._positions = config.predictor_positions
        super().__init__(
            {
                "decisions": In(stream.Signature(Decisions(config))),
                "items": Out(stream.Signature(PixelOrEnd(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        decided, item = self.decisions.payload, self.items.payload
        gone = Signal(self._positions)  # survivors that have left
        left = decided.survive & ~gone
        rest = left & (left - 1)[: self._positions]
        pixel = decided.pixels[self._positions - 1]
        for place in reversed(range(self._positions - 1)):
            pixel = Mux(left[place], decided.pixels[place], pixel)
        m.d.comb += [
            self.items.valid.eq(self.decisions.valid),
            item.pixel.eq(pixel),
            item.end.eq(decided.end),
            self.decisions.ready.eq(self.items.ready & ~rest.any()),
        ]
        with m.If(self.items.valid & self.items.ready):
            m.d.sync += gone.eq(Mux(rest.any(), ~rest & decided.survive, 0))
        return m
