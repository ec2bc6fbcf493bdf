"""The window's check refuses every window and program that must not run, and no other."""

from __future__ import annotations

from amaranth import Mux, Signal
from amaranth.hdl import Value

from hw.contract.bus import PAGE_BITS
from hw.contract.program import HEADER_BYTES
from tests.formal.harness import Defect, Harness
from tests.hw.small_configs import TINY

__all__ = ["WindowCheckHarness"]

_MODULE = "hw.core.window"
_PAGE_BITS = TINY.address_bits - PAGE_BITS
"""Width of a page's number on the bus."""
_LATENCY = 3
"""Cycles from a start to the answer."""


class WindowCheckHarness(Harness):
    """Check of a window."""

    component = "WindowCheck"
    sizes = f"as built: {TINY.address_bits} bits of address"
    defects = (
        Defect(
            module=_MODULE,
            old="past = end[-1] & end[:-1].any()",
            new="past = end[-1]",
            breaks="exactly the windows and programs are refused that must not run",
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.dut = dut = self.source(_MODULE).WindowCheck(TINY)
        start = self.drive(dut.start, "start")
        base, size = self.drive(dut.base, "base"), self.drive(dut.size, "size")
        program = self.drive(dut.program, "program")
        # A program takes longer than the check, so starts are further apart than that.
        since = Signal(range(_LATENCY + 1), init=_LATENCY)
        taken = {
            name: Signal.like(port, name=f"{name}_taken")
            for name, port in (("base", base), ("size", size), ("program", program))
        }
        with m.If(since != _LATENCY):
            m.d.sync += since.eq(since + 1)
        with m.If(start):
            m.d.sync += [
                since.eq(1),
                *(register.eq(getattr(dut, name)) for name, register in taken.items()),
            ]
        page, pages = taken["base"][PAGE_BITS:], taken["size"][PAGE_BITS:]
        wrong = (
            taken["base"][:PAGE_BITS].any()
            | taken["size"][:PAGE_BITS].any()
            | (taken["program"] % HEADER_BYTES != 0)
            | (page[_PAGE_BITS:] != 0)
            | (page[:_PAGE_BITS] + pages > 1 << _PAGE_BITS)
        )
        self.assume(~start | (since == _LATENCY))
        self.prove(
            "exactly the windows and programs are refused that must not run",
            dut.refused == Mux(since == _LATENCY, wrong, 0),
        )
        self.prove(
            "the window changes at a start alone",
            self.register(start) | (self.register(dut.window) == Value.cast(dut.window)),
        )
        self.cover("a window is refused", dut.refused)
