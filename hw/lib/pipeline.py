"""Helpers for writing pipelines."""

from amaranth import Module, Mux, Signal, Value
from amaranth.hdl import signed
from amaranth.utils import ceil_log2

from golden import arithmetic

__all__ = ["clamp", "delayed", "round_shift"]


def delayed(m: Module, signal, cycles: int, enable=1):
    """`signal` as it was that many enabled cycles before.

    What is wider than a flag says nothing by itself: a reset leaves it.
    """
    for _ in range(cycles):
        later = Signal.like(signal, reset_less=len(Value.cast(signal)) > 1)
        with m.If(enable):
            m.d.sync += later.eq(signal)
        signal = later
    return signal


def clamp(value, limits: tuple[int, int]):
    """The number nearest a signed one inside `limits`, those of a signed or unsigned n-bit number.

    The bits past those of `high` say all: no comparison, and no carry to wait for.
    """
    low, high = limits
    assert low in (0, ~high)
    assert high & (high + 1) == 0
    past = value[ceil_log2(high + 1) :]
    inside = ~past.any()
    if low:
        inside |= past.all()
    return Mux(inside, value, Mux(value[-1], low, high))


def round_shift(m: Module, product, shift):
    """(product + 2**(shift - 1)) >> shift: `golden.arithmetic.requantise_wide` after its product.

    Two cycles; a product's shift comes a cycle before it. A shift past the product's width
    gives 0, as one just past it does, so no wider sum is needed. A shift of 0 does not round.
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
