"""Helpers for writing pipelines."""

from amaranth import Module, Mux, Signal

__all__ = ["clamp", "delayed", "round_shift"]


def delayed(m: Module, signal, cycles: int, enable=1):
    """`signal` as it was that many enabled cycles before."""
    for _ in range(cycles):
        later = Signal.like(signal)
        with m.If(enable):
            m.d.sync += later.eq(signal)
        signal = later
    return signal


def clamp(value, limits: tuple[int, int]):
    """The nearest number inside `limits`."""
    low, high = limits
    return Mux(value < low, low, Mux(value > high, high, value))


def round_shift(product, shift):
    """(product + 2**(shift - 1)) >> shift: `golden.arithmetic.requantise_wide` after its product.

    A shift past the product's width gives 0, as one just past it does, so no wider sum is needed. A
    shift of 0 does not round.
    """
    limit = len(product) + 1
    bounded = Mux(shift > limit, limit, shift)
    half = ((1 << bounded) >> 1)[: limit + 1].as_unsigned()
    return (product + half) >> bounded
