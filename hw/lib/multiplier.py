"""A multiplier with the registers that an FPGA's multiplier block has.

For some families Yosys leaves these registers outside the block; then two long routes and the
multiplication share one cycle. So a platform may provide a block of its own. Without one, as in the
Verilog that `make verilog` writes, the multiplier is plain arithmetic and registers.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from amaranth import Instance, Module, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.lib.pipeline import delayed

__all__ = [
    "WIDE_LATENCY",
    "Multiplier",
    "MultiplierPair",
    "MultiplierPairPlatform",
    "MultiplierPlatform",
    "product",
    "wide_product",
]

WIDE_LATENCY = 2
"""Latency of `wide_product` in cycles."""
_LOW = 16
"""Bits of a wide factor that the first of its two blocks takes."""


@runtime_checkable
class MultiplierPlatform(Protocol):
    """A platform that provides the device's own multiplier block."""

    def multiply(self, multiplier: Multiplier) -> Instance:
        """An instance that behaves like `multiplier`, clocked by `sync`."""


class Multiplier(wiring.Component):
    """`product` is a * b of `latency` enabled cycles before. It is not reset.

    Parameters
    ----------
    a, b : Shape
        At most `MOST_BITS` wide each.
    holds_factors : bool
        Whether the block has registers for `a` and `b`.

    Members
    -------
    enable : In(1)
    a, b : In
    product : Out

    Attributes
    ----------
    latency : int
        2 with registers for the factors, else 1.
    """

    MOST_BITS = 18
    """Width of a factor that fits one block of any of the devices."""

    enable: Signal
    a: Signal
    b: Signal
    product: Signal

    def __init__(self, a: Shape, b: Shape, *, holds_factors: bool) -> None:
        assert max(a.width, b.width) <= self.MOST_BITS
        self.holds_factors = holds_factors
        self.latency = 2 if holds_factors else 1
        super().__init__(
            {
                "enable": In(1, init=1),  # type: ignore[call-arg]  # the stubs still say `reset`
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


@runtime_checkable
class MultiplierPairPlatform(Protocol):
    """A platform whose multiplier block gives two products that share a factor."""

    def multiply_pair(self, pair: MultiplierPair) -> Module:
        """A module that behaves like `pair`, clocked by `sync`."""


class MultiplierPair(wiring.Component):
    """`product[n]` is a[n] * b of `latency` cycles before, for n of 0 and 1. It is not reset.

    Parameters
    ----------
    a, b : Shape
        `a` is a signed shape of at most 9 bits, `b` one of at most 8, and `a` is never -256: so
        every product fits 16 bits.

    Members
    -------
    a : In(a).array(2)
    b : In
    product : Out(signed 16).array(2)
    """

    latency = 2
    PRODUCT_BITS = 16

    a: list[Signal]
    b: Signal
    product: list[Signal]

    def __init__(self, a: Shape, b: Shape) -> None:
        assert a.signed
        assert b.signed
        assert a.width <= 9
        assert b.width <= 8
        super().__init__(
            {
                "a": In(a).array(2),
                "b": In(b),
                "product": Out(signed(self.PRODUCT_BITS)).array(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(platform, MultiplierPairPlatform):
            m.submodules.block = platform.multiply_pair(self)
            return m
        for n in range(2):
            multiplier = Multiplier(self.a[n].shape(), self.b.shape(), holds_factors=True)
            m.submodules[f"product_{n}"] = multiplier
            m.d.comb += [
                multiplier.a.eq(self.a[n]),
                multiplier.b.eq(self.b),
                self.product[n].eq(multiplier.product),
            ]
        return m


def product(m: Module, a: Value, b: Value) -> Value:
    """a * b of the cycle before."""
    m.submodules += (multiplier := Multiplier(a.shape(), b.shape(), holds_factors=False))
    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
    return multiplier.product


def wide_product(m: Module, a: Value, b: Value) -> Value:
    """a * b of `WIDE_LATENCY` cycles before, for a signed a that may be too wide for one block."""
    if len(a) <= Multiplier.MOST_BITS:
        return delayed(m, product(m, a, b), 1)
    low = product(m, a[:_LOW], b)
    high = product(m, a[_LOW:].as_signed(), b)
    whole = Signal((Signal(a.shape()) * Signal(b.shape())).shape(), reset_less=True)
    m.d.sync += whole.eq(low + (high << _LOW))
    return whole
