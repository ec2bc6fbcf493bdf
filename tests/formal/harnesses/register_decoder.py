"""The register decoder sends every access to one page, and answers each exactly once."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Mux, Signal
from amaranth.hdl import Value

from hw.contract.bus import LITE_ADDRESS_BITS
from hw.contract.system import System
from tests.formal.harness import Defect, Harness, all_of, progress, stream_is_stable
from tests.hw.small_configs import TINY

__all__ = ["RegisterDecoderHarness"]

_MODULE = "hw.cores.register_decoder"
_CORES = 3
_SYSTEM = System(config=TINY, cores=_CORES, memory_bits=TINY.bus_bits)
_DECERR = 3


class RegisterDecoderHarness(Harness):
    """Register decoder before any blocks of registers that keep what is proved of ours."""

    component = "RegisterDecoder"
    sizes = f"{_CORES} cores and a page of none"
    defects = (
        Defect(
            module=_MODULE,
            old="ready.eq(offered & ~waits & (number >= self._system.cores))",
            new="ready.eq(offered & (number >= self._system.cores))",
            breaks="a write is taken when the one before has been answered",
        ),
        Defect(
            module=_MODULE,
            old="here = offered & ~waits & (number == position)",
            new="here = offered & ~waits & (number >= position)",
            breaks="a write goes to the core of its page, and to no other",
        ),
        Defect(
            module=_MODULE,
            old="value = Array(of(core, response, name) for core in self.cores)[owner]",
            new="value = Array(of(core, response, name) for core in self.cores)[number]",
            breaks="a read's answer is that of its core, which gives it once",
        ),
        Defect(
            module=_MODULE,
            old="Mux(nobody, _DECERR, value)",
            new="value",
            breaks="a read of no core's page is answered by DECERR and zeros",
        ),
        Defect(
            module=_MODULE,
            old="m.d.sync += waits.eq(0)",
            new='m.d.sync += waits.eq(of(port, response, "resp") == _DECERR)',
            breaks="a write is taken soon",
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.dut = self.dut = dut = self.source(_MODULE).RegisterDecoder(_SYSTEM)
        port = dut.port
        for name in ("awaddr", "awprot", "awvalid", "wdata", "wstrb", "wvalid", "bready"):
            self.drive(getattr(port, name), name)
        for name in ("araddr", "arprot", "arvalid", "rready"):
            self.drive(getattr(port, name), name)
        self.prove(
            "address and data of a write are taken together",
            (port.awvalid & port.awready) == (port.wvalid & port.wready),
        )
        passed = ("awaddr", "awprot", "wdata", "wstrb", "araddr", "arprot")
        self.prove(
            "a core sees the address in its page, and the data",
            all_of(
                [
                    getattr(core, name) == getattr(port, name)[: len(getattr(core, name))]
                    for core in dut.cores
                    for name in passed
                ]
            ),
        )
        self._accesses("write", ("aw", "w"), "b")
        self._accesses("read", ("ar",), "r")

    def _accesses(self, kind: str, channels: tuple[str, ...], response: str) -> None:
        m, port, cores = self.m, self.dut.port, self.dut.cores
        address = channels[0]
        texts = [name for name in ("data", "resp") if hasattr(port, f"{response}{name}")]

        def of(side: Any, name: str) -> Any:
            return getattr(side, name)

        def moves(side: Any, channel: str) -> Value:
            value: Value = of(side, f"{channel}valid") & of(side, f"{channel}ready")
            return value

        for number, core in enumerate(cores):
            ready = self.free(1, f"{kind}_ready_{number}")
            # A core takes address and data together, and answers what it took, with OKAY.
            m.d.comb += [of(core, f"{channel}ready").eq(ready) for channel in channels]
            owes = Signal(name=f"{kind}_owes_{number}")
            with m.If(moves(core, response)):
                m.d.sync += owes.eq(0)
            with m.If(moves(core, address)):
                m.d.sync += owes.eq(1)
            waits = self.register(of(core, f"{response}valid") & ~of(core, f"{response}ready"))
            offers = self.free(1, f"{kind}_answers_{number}") & owes
            m.d.comb += of(core, f"{response}valid").eq(waits | offers)
            if "data" in texts:
                data = self.free(32, f"{kind}_data_{number}")
                held = self.register(core.rdata)
                m.d.comb += core.rdata.eq(Mux(waits, held, data))

        page = of(port, f"{address}addr")[LITE_ADDRESS_BITS:]
        taken, answered = moves(port, address), moves(port, response)
        valid, ready = of(port, f"{response}valid"), of(port, f"{response}ready")
        owes, owner = Signal(name=f"{kind}_owes"), Signal.like(page, name=f"{kind}_owner")
        with m.If(answered):
            m.d.sync += owes.eq(0)
        with m.If(taken):
            m.d.sync += [owes.eq(1), owner.eq(page)]
        self.prove(
            f"a {kind} goes to the core of its page, and to no other",
            all_of(
                [
                    moves(core, channel) == (taken & (page == number))
                    for channel in channels
                    for number, core in enumerate(cores)
                ]
            ),
        )
        self.prove(f"a {kind} is taken when the one before has been answered", ~(taken & owes))
        self.prove(f"a {kind} that was taken is answered, and nothing else", ~valid | owes)
        core = Array(cores)[owner]
        self.prove(
            f"a {kind}'s answer is that of its core, which gives it once",
            all_of(
                [
                    moves(core, response) == (answered & (owner == number))
                    for number, core in enumerate(cores)
                ]
            )
            & (
                ~valid
                | (owner >= _CORES)
                | all_of(
                    [
                        of(port, f"{response}{name}") == of(core, f"{response}{name}")
                        for name in texts
                    ]
                )
            ),
        )
        zeros = port.rdata == 0 if "data" in texts else Value.cast(1)
        self.prove(
            f"a {kind} of no core's page is answered by DECERR and zeros",
            ~(valid & (owner >= _CORES)) | ((of(port, f"{response}resp") == _DECERR) & zeros),
        )
        stream_is_stable(
            self,
            f"a {kind}'s answer is stable",
            valid,
            ready,
            *(of(port, f"{response}{name}") for name in texts),
        )
        offered = all_of([of(port, f"{channel}valid") for channel in channels])
        every = all_of([of(core, f"{channel}ready") for core in cores for channel in channels])
        progress(
            self,
            f"a {kind} is taken soon",
            favourable=offered & every & (~owes | answered),
            event=taken,
            cycles=2,
        )
        self.prove(
            f"a {kind} is answered as soon as its core answers",
            ~owes | valid | ((owner < _CORES) & ~of(core, f"{response}valid")),
        )
        self.cover(f"a {kind} of the last core is answered", answered & (owner == _CORES - 1))
        self.cover(f"a {kind} of no core's page is answered", answered & (owner == _CORES))
