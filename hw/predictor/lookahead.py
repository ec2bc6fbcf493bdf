"""Lookahead: shows the predictor the next activations of a stream, as many as a step may need."""

from __future__ import annotations

from amaranth import Array, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import Config

__all__ = ["Lookahead"]


class Lookahead(wiring.Component):
    """Holds up to N activations, N positions a step; it fills by one a cycle.

    With one position a step it holds none: the stream's own is shown.

    Members
    -------
    i : In(stream of u8)
    wanted : In(range(N + 1))
        Activations that the step needs.
    enough : Out(1)
        So many are there.
    take : In(1)
        Take them in this cycle, if there are enough.
    values : Out(u8).array(N)
        The next ones; as many as are wanted mean something, where there are enough.
    """

    i: stream.Interface
    wanted: Signal
    enough: Signal
    take: Signal
    values: list[Signal]

    def __init__(self, config: Config) -> None:
        self._positions = config.predictor_positions
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(8))),
                "wanted": In(range(self._positions + 1)),
                "enough": Out(1),
                "take": In(1),
                "values": Out(8).array(self._positions),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._positions == 1:
            m.d.comb += [
                self.enough.eq(~self.wanted | self.i.valid),
                self.i.ready.eq(self.take & self.wanted),
                self.values[0].eq(self.i.payload),
            ]
            return m
        held = [
            Signal(8, name=f"held_{place}", reset_less=True) for place in range(self._positions)
        ]
        count = Signal(range(self._positions + 1))
        taken = Signal.like(count)
        left = Signal.like(count)
        enters = self.i.valid & self.i.ready
        m.d.comb += [
            self.enough.eq(count >= self.wanted),
            taken.eq(Mux(self.take & self.enough, self.wanted, 0)),
            left.eq(count - taken),
            self.i.ready.eq(left != self._positions),
            *(value.eq(place) for value, place in zip(self.values, held, strict=True)),
        ]
        m.d.sync += count.eq(left + enters)
        for place, value in enumerate(held):
            following = Array([*held[place:], *[value] * place])
            m.d.sync += value.eq(Mux(left == place, self.i.payload, following[taken]))
        return m
