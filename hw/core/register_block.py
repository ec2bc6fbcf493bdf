"""Register block: the hardware of the registers that `hw.contract.registers` describes."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.hdl import unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.bus import OFFSET_BITS
from hw.contract.counters import CORE_COUNTERS, TOTAL_BITS
from hw.contract.registers import EVENTS, REGISTERS, Fault
from hw.core.axi import Axi4LiteSignature
from hw.core.window import HALF_BITS

__all__ = ["FAULT_BITS", "RegisterBlock"]

FAULT_BITS = REGISTERS["error"].fields["code"].bits
"""Width of a `Fault`."""


class RegisterBlock(wiring.Component):
    """The registers behind an AXI4-Lite port; takes a write, and a read, every other cycle.

    Members
    -------
    s_axil : In(Axi4LiteSignature)
    irq : Out(1)
        High while an enabled event is in `interrupt_status`.
    start, abort : Out(1)
        A one is written to the field of `control`; for one cycle.
    program, point, base, size : Out
        The registers of these names.
    busy, layer, error_code, error_word : In
        The values that are read.
    done, error, aborted : In(1)
        The event of this name happens in this cycle.
    counter : Out
        Number of the counter that is read.
    total : In(TOTAL_BITS)
        That counter, in the same cycle.
    """

    s_axil: Any
    irq: Signal
    start: Signal
    abort: Signal
    program: Signal
    point: Signal
    base: Signal
    size: Signal
    busy: Signal
    layer: Signal
    error_code: Signal
    error_word: Signal
    done: Signal
    error: Signal
    aborted: Signal
    counter: Signal
    total: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "s_axil": In(Axi4LiteSignature()),
                "irq": Out(1),
                "start": Out(1),
                "abort": Out(1),
                "program": Out(OFFSET_BITS),
                "point": Out(8),
                "base": Out(2 * HALF_BITS),
                "size": Out(OFFSET_BITS),
                "busy": In(1),
                "layer": In(16),
                "error_code": In(FAULT_BITS),
                "error_word": In(8),
                "done": In(1),
                "error": In(1),
                "aborted": In(1),
                "counter": Out(range(len(CORE_COUNTERS))),
                "total": In(unsigned(TOTAL_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        enable, status = Signal(len(EVENTS)), Signal(len(EVENTS))
        m.d.comb += self.irq.eq((enable & status).any())

        # Address and data of a write are taken in the same cycle.
        write = Signal()
        m.d.comb += [
            write.eq(self.s_axil.awvalid & self.s_axil.wvalid & ~self.s_axil.bvalid),
            self.s_axil.awready.eq(write),
            self.s_axil.wready.eq(write),
        ]
        m.d.sync += self.s_axil.bvalid.eq(write | (self.s_axil.bvalid & ~self.s_axil.bready))

        def written(name: str) -> Value:
            """High while the register, or a part of it, is written."""
            return write & (self.s_axil.awaddr[2:] == REGISTERS[name].offset >> 2)

        # Only the bytes whose strobe is high are written; `ones` has the ones among their bits.
        strobes = Cat(strobe.replicate(8) for strobe in self.s_axil.wstrb)
        ones = self.s_axil.wdata & strobes
        m.d.comb += [
            self.start.eq(written("control") & ones[0]),
            self.abort.eq(written("control") & ones[1]),
        ]
        for name, target in (
            ("interrupt_enable", enable),
            ("program", self.program),
            ("point", self.point),
            ("base_low", self.base[:HALF_BITS]),
            ("base_high", self.base[HALF_BITS:]),
            ("size", self.size),
        ):
            with m.If(written(name)):
                m.d.sync += target.eq((target & ~strobes) | ones)
        cleared = written("interrupt_status").replicate(len(EVENTS)) & ones
        events = Cat(self.done, self.error, self.aborted)
        m.d.sync += status.eq((status & ~cleared) | events)

        faulty = self.error_code != Fault.NONE
        # The register that is addressed is read through a multiplexer.
        readable: dict[str, ValueLike] = {}
        for name, register in REGISTERS.items():
            if register.constant is not None:
                readable[name] = register.constant
        readable |= {
            "status": self.busy,
            "interrupt_enable": enable,
            "interrupt_status": status,
            "error": Mux(faulty, Cat(self.error_code, self.error_word, self.layer), 0),
            "program": self.program,
            "point": self.point,
            "layer": self.layer,
            "base_low": self.base[:HALF_BITS],
            "base_high": self.base[HALF_BITS:],
            "size": self.size,
        }
        offset = self.s_axil.araddr
        word = Signal(32)
        m.d.comb += self.counter.eq(offset[3:7])
        with m.Switch(offset[2:]):
            for name, source in readable.items():
                with m.Case(REGISTERS[name].offset >> 2):
                    m.d.comb += word.eq(source)
            for name in CORE_COUNTERS:
                for part, half in enumerate(("low", "high")):
                    with m.Case(REGISTERS[f"{name}_{half}"].offset >> 2):
                        m.d.comb += word.eq(self.total.word_select(part, 32))
        read = Signal()
        m.d.comb += [
            read.eq(self.s_axil.arvalid & ~self.s_axil.rvalid),
            self.s_axil.arready.eq(read),
        ]
        m.d.sync += self.s_axil.rvalid.eq(read | (self.s_axil.rvalid & ~self.s_axil.rready))
        with m.If(read):
            m.d.sync += self.s_axil.rdata.eq(word)
        return m
