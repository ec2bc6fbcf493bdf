"""Several cores on one memory port, each with a page of registers and an interrupt of its own.

    s_axil -> register decoder -> core 0 -> upsizers -> memory interconnect -> m_axi
                               -> core 1 -> upsizers -/
                               ...

The cores know nothing of each other. Each has its own window and its own program; hosts that want
one copy of the weights give them the same window (`compiler.build`). Upsizers are there where the
memory port is wider than that of a core.
"""

from __future__ import annotations

from typing import Any

from amaranth import ClockSignal, Instance, Module, ResetInserter, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hw.contract.system import System
from hw.core.axi import Axi4LiteSignature, Axi4Signature
from hw.core.core import core_ports
from hw.core.ports import connect_gated, named_ports
from hw.cores.memory_interconnect import MemoryInterconnect
from hw.cores.register_decoder import RegisterDecoder
from hw.cores.upsizer import ReadUpsizer, WriteUpsizer

__all__ = ["Cores"]


class Cores(wiring.Component):
    """Instances of the core's Verilog module, and what joins them.

    One cycle of reset is enough. In the cycle after the reset there is no handshake yet.

    Parameters
    ----------
    system : System
    module : str
        Name of the core's Verilog module.

    Members
    -------
    s_axil : In(Axi4LiteSignature)
        The page of core n begins at the address n << LITE_ADDRESS_BITS.
    m_axi : Out(Axi4Signature)
        The number of a core is in the ID's highest bits.
    irq : Out(cores)
        The interrupt of each core.
    """

    s_axil: Any
    m_axi: Any
    irq: Signal

    def __init__(self, system: System, module: str) -> None:
        self._system = system
        self._module = module
        bits, ids = system.memory_bits, system.id_bits
        super().__init__(
            {
                "s_axil": In(Axi4LiteSignature(system.lite_address_bits)),
                "m_axi": Out(Axi4Signature(system.config, data_bits=bits, id_bits=ids)),
                "irq": Out(system.cores),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self._system
        # `cold` is the reset, a cycle late. The decoder must not take what the gate does not pass.
        cold = Signal(reset_less=True)
        m.d.sync += cold.eq(ResetSignal())
        decoder = RegisterDecoder(system)
        m.submodules.registers = ResetInserter(cold)(decoder)
        m.submodules.memory = memory = MemoryInterconnect(system)
        connect_gated(m, decoder.port, self.s_axil, ~cold)
        connect_gated(m, memory.port, self.m_axi, ~cold)
        for number in range(system.cores):
            core: Any = wiring.Signature(core_ports(system.config)).create()
            ports = {
                f"{'i' if flow == In else 'o'}_{name}": value
                for name, flow, value in named_ports(core)
            }
            m.submodules[f"core{number}"] = Instance(
                self._module, i_clk=ClockSignal(), i_rst=ResetSignal(), **ports
            )
            connect(m, decoder.cores[number], core.s_axil)
            m.d.comb += self.irq[number].eq(core.irq)
            if system.ratio == 1:
                connect(m, core.m_axi, memory.cores[number])
                continue
            m.submodules[f"read_upsizer{number}"] = reads = ReadUpsizer(system)
            m.submodules[f"write_upsizer{number}"] = writes = WriteUpsizer(system)
            connect(m, core.m_axi.read, reads.core)
            connect(m, core.m_axi.write, writes.core)
            connect(m, reads.port, memory.cores[number].read)
            connect(m, writes.port, memory.cores[number].write)
        return m
