"""Register decoder: hands the transfers of one AXI4-Lite port to the cores, a page to each.

The address bits above a page's are the number of the core. A page of no core answers with DECERR.
A write and a read may be under way at the same time, one of each; the next is taken when it has
been answered.
"""

from __future__ import annotations

from typing import Any

from amaranth import Array, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.bus import LITE_ADDRESS_BITS
from hw.contract.system import System
from hw.core.axi import Axi4LiteSignature

__all__ = ["RegisterDecoder"]

_DECERR = 3


class RegisterDecoder(wiring.Component):
    """Passes each transfer on in the cycle in which it comes.

    Parameters
    ----------
    system : System

    Members
    -------
    port : In(Axi4LiteSignature)
    cores : Out(Axi4LiteSignature).array(cores)
    """

    port: Any
    cores: Any

    def __init__(self, system: System) -> None:
        self._system = system
        super().__init__(
            {
                "port": In(Axi4LiteSignature(system.lite_address_bits)),
                "cores": Out(Axi4LiteSignature()).array(system.cores),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = self.port
        # A write is taken when both its address and its data are there.
        self._connect(m, ("aw", "w"), "b", port.awaddr, port.awvalid & port.wvalid)
        self._connect(m, ("ar",), "r", port.araddr, port.arvalid)
        with m.If(port.rresp == _DECERR):
            m.d.comb += port.rdata.eq(0)
        for core in self.cores:
            m.d.comb += [
                core.awaddr.eq(port.awaddr),
                core.awprot.eq(port.awprot),
                core.wdata.eq(port.wdata),
                core.wstrb.eq(port.wstrb),
                core.araddr.eq(port.araddr),
                core.arprot.eq(port.arprot),
            ]
        return m

    def _connect(
        self, m: Module, channels: tuple[str, ...], response: str, address: Value, offered: Value
    ) -> None:
        """Connect the handshakes of a write or of a read, and what comes back."""
        port = self.port

        def of(side: Any, channel: str, name: str) -> Signal:
            return getattr(side, f"{channel}{name}")

        number = address[LITE_ADDRESS_BITS:]
        waits, owner = Signal(name=f"{response}_waits"), Signal.like(number, name=f"{response}_of")
        nobody = owner >= self._system.cores
        answers = Array(of(core, response, "valid") for core in self.cores)
        texts = [name for name in ("data", "resp") if hasattr(port, f"{response}{name}")]
        ready = Signal(name=f"{channels[0]}_taken")
        m.d.comb += ready.eq(offered & ~waits & (number >= self._system.cores))
        for channel in channels:
            m.d.comb += of(port, channel, "ready").eq(ready)
        for position, core in enumerate(self.cores):
            here = offered & ~waits & (number == position)
            m.d.comb += [of(core, channel, "valid").eq(here) for channel in channels]
            m.d.comb += of(core, response, "ready").eq(
                waits & (owner == position) & of(port, response, "ready")
            )
            with m.If(here):
                m.d.comb += ready.eq(of(core, channels[0], "ready"))
        for name in texts:
            value = Array(of(core, response, name) for core in self.cores)[owner]
            decoded = Mux(nobody, _DECERR, value) if name == "resp" else value
            m.d.comb += of(port, response, name).eq(decoded)
        m.d.comb += of(port, response, "valid").eq(waits & (nobody | answers[owner]))
        with m.If(ready):
            m.d.sync += [waits.eq(1), owner.eq(number)]
        with m.If(of(port, response, "valid") & of(port, response, "ready")):
            m.d.sync += waits.eq(0)
