"""A multiplier as FPGAs have it: its registers are in the block with it.

Synthesis by Yosys leaves them outside for some families, and then two long ways lie beside the
multiplication in one cycle. So a platform may bring a block of its own; without one, as in the
Verilog that `make verilog` writes, it is plain arithmetic and registers.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from amaranth import Module, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.lib.pipeline import delayed

__all__ = ["WIDE_LATENCY", "Multiplier", "MultiplierPlatform", "product", "wide_product"]

WIDE_LATENCY = 2
"""Of `wide_product`."""
_LOW = 16
"""Bits of a wide factor that the first of its two blocks takes."""


@runtime_checkable
class MultiplierPlatform(Protocol):
    """What `elaborate` is given where multipliers are a device's own blocks."""

    def multiply(self, multiplier: Multiplier) -> Any:
        """An instance that does what `multiplier` says, in the domain `sync`."""


class Multiplier(wiring.Component):
    """`product` is a * b, of one enabled cycle before, or of two with registers for `a` and `b`.

    No reset reaches it.

    Parameters
    ----------
    a, b : Shape
        At most `MOST_BITS` each.
    holds_factors : bool
        Whether the block has registers for `a` and `b`.

    Members
    -------
    enable : In(1)
    a, b : In
    product : Out
    """

    MOST_BITS = 18
    """Of a factor, in one block of any of the devices."""

    def __init__(self, a: Shape, b: Shape, *, holds_factors: bool) -> None:
        assert max(a.width, b.width) <= self.MOST_BITS
        self.holds_factors = holds_factors
        self.latency = 2 if holds_factors else 1
        super().__init__(
            {
                "enable": In(1, init=1),
                "a": In(a),
                "b": In(b),
                "product": Out((Signal(a) * Signal(b)).shape()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(platform, MultiplierPlatform):
            m.submodules.block = platform.multiply(self)
            return m
        a, b = self.a, self.b
        if self.holds_factors:
            a, b = (Signal.like(factor, reset_less=True) for factor in (self.a, self.b))
            with m.If(self.enable):
                m.d.sync += [a.eq(self.a), b.eq(self.b)]
        product = Signal.like(self.product, reset_less=True)
        with m.If(self.enable):
            m.d.sync += product.eq(a * b)
        m.d.comb += self.product.eq(product)
        return m


def product(m: Module, a, b):
    """a * b, of the cycle before."""
    m.submodules += (multiplier := Multiplier(a.shape(), b.shape(), holds_factors=False))
    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
    return multiplier.product


def wide_product(m: Module, a, b):
    """a * b of two cycles before, for a signed a that may be too wide for one block."""
    if len(a) <= Multiplier.MOST_BITS:
        return delayed(m, product(m, a, b), 1)
    low = product(m, a[:_LOW], b)
    high = product(m, a[_LOW:].as_signed(), b)
    whole = Signal((Signal(a.shape()) * Signal(b.shape())).shape(), reset_less=True)
    m.d.sync += whole.eq(low + (high << _LOW))
    return whole
