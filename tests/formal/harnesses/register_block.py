"""The register block answers every access once, at once, and loses no event."""

from __future__ import annotations

from amaranth import Cat, Mux, Signal
from amaranth.hdl import Value

from hw.contract.counters import CORE_COUNTERS
from hw.contract.registers import EVENTS, REGISTERS, Fault
from tests.formal.harness import Defect, Harness, progress, stream_is_stable

__all__ = ["RegisterBlockHarness"]

_MODULE = "hw.core.register_block"
_HELD = ("program", "point", "base_low", "base_high", "size")
"""Registers that the host writes and the core reads."""


class RegisterBlockHarness(Harness):
    """Register block against a model of the registers' description."""

    component = "RegisterBlock"
    sizes = "as built"
    defects = (
        Defect(
            module=_MODULE,
            old="status.eq((status & ~cleared) | events)",
            new="status.eq((status | events) & ~cleared)",
            breaks="an event stays until it is cleared, and interrupts where enabled",
        ),
        Defect(
            module=_MODULE,
            old="read.eq(self.s_axil.arvalid & ~self.s_axil.rvalid)",
            new="read.eq(self.s_axil.arvalid)",
            breaks="a read's response is stable",
        ),
        Defect(
            module=_MODULE,
            old="target.eq((target & ~strobes) | ones)",
            new="target.eq(ones)",
            breaks="the bytes that are written are held, and nothing else",
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.dut = dut = self.source(_MODULE).RegisterBlock()
        bus = dut.s_axil
        for name in ("aw", "w", "ar"):
            self.drive(getattr(bus, f"{name}valid"), f"{name}valid")
        for name in ("awaddr", "wdata", "wstrb", "araddr", "bready", "rready"):
            self.drive(getattr(bus, name), name)
        inputs = ("busy", "layer", "error_code", "error_word", "done", "error", "aborted", "total")
        for name in inputs:
            self.drive(getattr(dut, name), name)

        written = bus.awvalid & bus.awready & bus.wvalid & bus.wready
        read = bus.arvalid & bus.arready
        self.prove(
            "address and data of a write are taken together",
            (bus.awvalid & bus.awready) == (bus.wvalid & bus.wready),
        )
        self._responses_are_due(written, bus.bvalid, bus.bready, "write")
        self._responses_are_due(read, bus.rvalid, bus.rready, "read")
        stream_is_stable(self, "a read's response is stable", bus.rvalid, bus.rready, bus.rdata)
        progress(
            self,
            "a write is taken",
            favourable=bus.awvalid & bus.wvalid & bus.bready,
            event=written,
            cycles=2,
        )
        progress(self, "a read is taken", favourable=bus.arvalid & bus.rready, event=read, cycles=2)
        self.prove("no response is an error", (bus.bresp == 0) & (bus.rresp == 0))

        def hit(name: str) -> Value:
            return written & (bus.awaddr >> 2 == REGISTERS[name].offset >> 2)

        enable, status = (
            Signal(len(EVENTS), name=f"{name}_model") for name in ("enable", "status")
        )
        held = {name: Signal(32, name=f"{name}_model") for name in _HELD}
        for name, register in {"interrupt_enable": enable, **held}.items():
            with m.If(hit(name)):
                for byte in range(0, len(register), 8):
                    with m.If(bus.wstrb[byte // 8]):
                        m.d.sync += register[byte : byte + 8].eq(bus.wdata[byte:])
        for bit, name in enumerate(EVENTS):
            with m.If(getattr(dut, name)):
                m.d.sync += status[bit].eq(1)
            with m.Elif(hit("interrupt_status") & bus.wstrb[0] & bus.wdata[bit]):
                m.d.sync += status[bit].eq(0)
        self.prove(
            "the bytes that are written are held, and nothing else",
            (dut.program == held["program"])
            & (dut.point == held["point"][: len(dut.point)])
            & (dut.base == Cat(held["base_low"], held["base_high"]))
            & (dut.size == held["size"]),
        )
        self.prove(
            "an event stays until it is cleared, and interrupts where enabled",
            dut.irq == (enable & status).any(),
        )
        self.prove(
            "start and abort are given where they are written",
            (dut.start == (hit("control") & bus.wstrb[0] & bus.wdata[0]))
            & (dut.abort == (hit("control") & bus.wstrb[0] & bus.wdata[1])),
        )

        values = {name: register.constant for name, register in REGISTERS.items()}
        known: dict[str, Value | int] = {
            name: value for name, value in values.items() if value is not None
        }
        known |= {
            "control": 0,
            "status": dut.busy,
            "interrupt_enable": enable,
            "interrupt_status": status,
            "error": Mux(
                dut.error_code == Fault.NONE, 0, Cat(dut.error_code, dut.error_word, dut.layer)
            ),
            "layer": dut.layer,
            **held,
            "point": held["point"][: len(dut.point)],
        }
        expected = Signal(32)
        right_counter: Value = Value.cast(1)
        for name, content in known.items():
            with m.If(bus.araddr >> 2 == REGISTERS[name].offset >> 2):
                m.d.comb += expected.eq(content)
        for number, name in enumerate(CORE_COUNTERS):
            for half, part in (("low", dut.total[:32]), ("high", dut.total[32:])):
                here = bus.araddr >> 2 == REGISTERS[f"{name}_{half}"].offset >> 2
                right_counter &= ~here | (dut.counter == number)
                with m.If(here):
                    m.d.comb += expected.eq(part)
        answer = Signal(32)
        m.d.sync += answer.eq(Mux(read, expected, answer))
        self.prove(
            "a read's response is the register's value as it was taken",
            ~bus.rvalid | (bus.rdata == answer),
        )
        self.prove("the counter that is asked for is the one at the address", right_counter)
        self.cover("an interrupt is raised and cleared", self.register(dut.irq) & ~dut.irq)

    def _responses_are_due(self, taken: Value, valid: Value, ready: Value, kind: str) -> None:
        pending = Signal(2, name=f"{kind}_pending")
        self.m.d.sync += pending.eq(pending + taken - (valid & ready))
        self.prove(f"every {kind} is answered once, in the next cycle", valid == (pending != 0))
        self.prove(f"one {kind} is open at a time", pending <= 1)
