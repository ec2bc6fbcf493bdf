"""Helpers for pipelines: delays, clamping, and a rounding shift."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value
from amaranth.hdl import ValueLike, signed
from amaranth.utils import ceil_log2

from golden import arithmetic

__all__ = ["clamp", "delayed", "round_shift"]


def delayed(m: Module, signal: ValueLike, cycles: int, enable: ValueLike = 1) -> Value:
    """`signal` of that many enabled cycles before.

    Wide data is not reset; a one-bit signal is, because it may be a valid flag.
    """
    value = Value.cast(signal)
    for _ in range(cycles):
        later = Signal.like(value, name="later", reset_less=len(value) > 1)
        with m.If(enable):
            m.d.sync += later.eq(value)
        value = later
    return value


def clamp(value: Value, limits: tuple[int, int]) -> Value:
    """The number nearest to a signed value within `limits`.

    The limits are those of a signed or an unsigned n-bit number. So the bits above the limits' say
    whether the value is within them: it takes no comparison, and no carry chain.
    """
    low, high = limits
    assert low in (0, ~high)
    assert high & (high + 1) == 0
    past = value[ceil_log2(high + 1) :]
    inside = ~past.any()
    if low:
        inside |= past.all()
    return Mux(inside, value, Mux(value[-1], low, high))


def round_shift(m: Module, product: Value, shift: Value) -> Value:
    """(product + 2**(shift - 1)) >> shift, two cycles later; a shift of 0 does not round.

    It is what `golden.arithmetic.requantise_wide` does after its product. `shift` comes a cycle
    before its product. A shift past the product's width gives 0, as one just past it does, so no
    wider sum is needed.
    """
    limit = len(product) + 1
    bounded = Mux(shift > limit, limit, shift)
    half = Signal(limit + 1, reset_less=True)
    rounded = Signal(signed(limit + 1), reset_less=True)
    shifted = Signal(signed(limit), reset_less=True)
    m.d.sync += [
        half.eq(arithmetic.half(bounded)),
        rounded.eq(product + half),
        shifted.eq(rounded >> delayed(m, bounded, 2)),
    ]
    return shifted
