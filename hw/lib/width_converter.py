"""Converters between the beats of a narrow stream and the words of a wider one.

A word's first beat is its lowest part.
"""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Downsizer", "Upsizer"]


class Upsizer(wiring.Component):
    """Gathers `ratio` beats into one word; takes a beat a cycle.

    A complete word moves to an output register as soon as that is empty. Unless `ratio` is 1,
    `i.ready` does not depend combinationally on `o.ready`, so the two ends may be far apart.

    Parameters
    ----------
    bits : int
        Width of a beat.
    ratio : int
        Beats in a word.

    Members
    -------
    i : In(stream of beats)
    o : Out(stream of words)
    waiting : Out(1)
        A complete word has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    waiting: Signal

    def __init__(self, bits: int, ratio: int) -> None:
        self._bits = bits
        self._ratio = ratio
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(bits))),
                "o": Out(stream.Signature(unsigned(bits * ratio))),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._ratio == 1:
            m.d.comb += [
                self.o.valid.eq(self.i.valid),
                self.o.payload.eq(self.i.payload),
                self.i.ready.eq(self.o.ready),
                self.waiting.eq(self.i.valid),
            ]
            return m
        word, whole = (
            Signal(self._bits * self._ratio, name=name, reset_less=True)
            for name in ("word", "whole")
        )
        count = Signal(range(self._ratio))
        complete = Signal()
        m.d.comb += [
            self.o.payload.eq(whole),
            self.i.ready.eq(~(complete & self.o.valid)),
            self.waiting.eq(complete | self.o.valid),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(complete & ~self.o.valid):
            m.d.sync += [whole.eq(word), self.o.valid.eq(1), complete.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            last = count == self._ratio - 1
            m.d.sync += [
                word.eq(Cat(word, self.i.payload)[self._bits :]),
                count.eq(Mux(last, 0, count + 1)),
            ]
            with m.If(last):
                m.d.sync += complete.eq(1)
        return m


class Downsizer(wiring.Component):
    """Splits each word into `ratio` beats; hands out a beat a cycle.

    Parameters
    ----------
    bits : int
        Width of a beat.
    ratio : int
        Beats in a word.

    Members
    -------
    i : In(stream of words)
    o : Out(stream of beats)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, bits: int, ratio: int) -> None:
        self._bits = bits
        self._ratio = ratio
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(bits * ratio))),
                "o": Out(stream.Signature(unsigned(bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(max(self._ratio, 2)))  # Verilog has no vector of zero bits
        last = count == self._ratio - 1
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.o.payload.eq(self.i.payload.word_select(count, self._bits)),
            self.i.ready.eq(self.o.ready & last),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += count.eq(count + 1)
            with m.If(last):
                m.d.sync += count.eq(0)
        return m
