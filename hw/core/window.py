"""The window: the only memory that the core reaches.

The host sets the window's bus address and size in registers. Every address in a program is an
offset into the window, so a program runs wherever the window lies, and no program reaches anything
else. `hw.core.dma` adds the address where it makes bursts, and issues none that leaves the window.
"""

from __future__ import annotations

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.bus import OFFSET_BITS, PAGE_BITS
from hw.contract.config import Config
from hw.contract.program import HEADER_BYTES

__all__ = ["HALF_BITS", "Window", "WindowCheck"]

HALF_BITS = 32
"""Width of each of the two registers that hold the window's address."""


class Window(data.StructLayout):
    """The first page of a window on the bus, and its number of pages of 2**PAGE_BITS bytes."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "page": unsigned(config.address_bits - PAGE_BITS),
                "pages": unsigned(OFFSET_BITS - PAGE_BITS),
            }
        )


class WindowCheck(wiring.Component):
    """Takes the window from the registers when a program starts, and says whether it can be used.

    Members
    -------
    start : In(1)
        The registers are taken in this cycle.
    base : In(64), size, program : In(32)
        The registers of these names.
    window : Out(Window)
        What was taken; constant until the next start.
    refused : Out(1)
        The window or the program is misaligned, or the window ends beyond the bus's addresses. It
        is valid from three cycles after `start` on, and low before.
    """

    start: Signal
    base: Signal
    size: Signal
    program: Signal
    window: data.View[Window]
    refused: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "base": In(2 * HALF_BITS),
                "size": In(OFFSET_BITS),
                "program": In(OFFSET_BITS),
                "window": Out(Window(config)),
                "refused": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._config.address_bits
        in_page = self.base[:PAGE_BITS].any() | self.size[:PAGE_BITS].any()
        in_header = self.program[: ceil_log2(HEADER_BYTES)].any()
        beyond = self.base[bits:].any()
        taken, wrong = Signal(), Signal()
        m.d.sync += taken.eq(self.start)
        with m.If(self.start):
            m.d.sync += [
                self.window.page.eq(self.base[PAGE_BITS:bits]),
                self.window.pages.eq(self.size[PAGE_BITS:]),
                wrong.eq(in_page | in_header | beyond),
                self.refused.eq(0),
            ]
        # A window that ends with the last page is allowed; its end needs one bit more.
        end = Signal(bits - PAGE_BITS + 1)
        summed = Signal()
        m.d.sync += [end.eq(self.window.page + self.window.pages), summed.eq(taken)]
        with m.If(summed):
            past = end[-1] & end[:-1].any()
            m.d.sync += self.refused.eq(wrong | past)
        return m
