"""Helpers for writing pipelines."""

from amaranth import Module, Mux, Signal

__all__ = ["clamp", "delayed"]


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
