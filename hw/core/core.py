"""The core: runs networks from memory by itself; a host starts and watches it through registers.

Every program ends in the same way, whether it is done, aborted or at fault: no new burst is begun,
those under way are answered, and everything but the registers is reset. So the next program finds a
clean core, and the bus never sees a broken transfer.

Words of a program may contradict each other in more ways than the core checks. Some part of the
core then waits for something that never comes. So a program that moves no data for `patience`
cycles ends with a fault.

A reset reaches thousands of flip-flops. It leaves a register of the core, a cycle late, so the
paths to the flip-flops start there.
"""

from __future__ import annotations

from typing import Any

from amaranth import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    Mux,
    ResetInserter,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.bus import BURST
from hw.contract.config import Config
from hw.contract.registers import Fault
from hw.core.axi import Axi4LiteSignature, Axi4Signature
from hw.core.ports import connect_gated
from hw.core.register_block import RegisterBlock
from hw.core.sequencer import Sequencer
from hw.core.window import WindowCheck

__all__ = ["Core", "core_ports", "patience"]

_SLOWEST_MEMORY = 1 << 16
"""More cycles than any memory takes to answer."""


def patience(config: Config) -> int:
    """Return the cycles for which a program may move no data before that is a fault.

    It is a power of two. It exceeds the time between two transfers of any layer that fits the
    buffers: G channels are computed after the last record is loaded, with two more in work before
    them, and then the drain pools a burst of words, from windows of up to four times a bank,
    padding included.
    """
    channel = config.ofm_words * config.weight_words
    silence = (config.group + 2) * channel + BURST * 4 * config.ofm_words
    return 1 << ceil_log2(max(silence, _SLOWEST_MEMORY))


def core_ports(config: Config) -> dict[str, wiring.Member]:
    """Return the ports of a core; `Core` says what they are for."""
    return {
        "s_axil": In(Axi4LiteSignature()),
        "m_axi": Out(Axi4Signature(config)),
        "irq": Out(1),
    }


class Core(wiring.Component):
    """The whole accelerator.

    One cycle of reset is enough. In the cycle after the reset there is no handshake yet.

    Members
    -------
    s_axil : In(Axi4LiteSignature)
    m_axi : Out(Axi4Signature)
    irq : Out(1)
        High while an enabled event is in `interrupt_status`.
    """

    s_axil: Any
    m_axi: Any
    irq: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(core_ports(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.core = ClockDomain(local=True, reset_less=True)
        m.d.comb += ClockSignal("core").eq(ClockSignal())
        # `cold` is the reset from outside, a cycle late. `reset` ends every program as well.
        cold = Signal()
        reset = Signal()
        registers = RegisterBlock()
        sequencer = Sequencer(self._config)
        in_core = DomainRenamer("core")
        m.submodules.registers = in_core(ResetInserter(cold)(registers))
        m.submodules.sequencer = in_core(ResetInserter(reset)(sequencer))
        m.submodules.window = window = in_core(WindowCheck(self._config))
        m.d.comb += self.irq.eq(registers.irq)
        connect_gated(m, registers.s_axil, self.s_axil, ~cold)
        connect_gated(m, sequencer.m_axi, self.m_axi, ~cold)

        running = Signal()
        stopping = Signal()
        complete, aborting = Signal(), Signal()
        m.d.comb += [
            registers.busy.eq(running),
            sequencer.start.eq(registers.start & ~running),
            window.start.eq(sequencer.start),
            window.base.eq(registers.base),
            window.size.eq(registers.size),
            window.program.eq(registers.program),
            sequencer.window.eq(window.window),
            sequencer.program.eq(registers.program),
            sequencer.point.eq(registers.point),
            sequencer.counter.eq(registers.counter),
            registers.total.eq(sequencer.total),
            sequencer.halt.eq(stopping),
            registers.done.eq(reset & complete),
            registers.error.eq(reset & ~complete & ~aborting),
            registers.aborted.eq(reset & aborting),
        ]
        silent = Signal(range(patience(self._config) + 1))
        moves = _any_transfer(self.m_axi)
        m.d.core += silent.eq(Mux(running & ~moves, silent + 1, 0))
        with m.If(sequencer.start):
            m.d.core += [
                running.eq(1),
                complete.eq(0),
                aborting.eq(0),
                registers.layer.eq(0),
                registers.error_word.eq(0),
                registers.error_code.eq(Fault.NONE),
            ]
        with m.If(running & ~stopping):
            m.d.core += registers.layer.eq(sequencer.layer)
            with m.If(window.refused):
                m.d.core += [stopping.eq(1), registers.error_code.eq(Fault.WINDOW)]
            with m.Elif(sequencer.fault != Fault.NONE):
                m.d.core += [
                    stopping.eq(1),
                    registers.error_code.eq(sequencer.fault),
                    registers.error_word.eq(sequencer.fault_word),
                ]
            with m.Elif(sequencer.done):
                m.d.core += [stopping.eq(1), complete.eq(1)]
            with m.Elif(registers.abort):
                m.d.core += [stopping.eq(1), aborting.eq(1)]
            with m.Elif(silent[-1]):
                m.d.core += [stopping.eq(1), registers.error_code.eq(Fault.STALL)]
        asked = ResetSignal(allow_reset_less=True)
        stopped = stopping & sequencer.idle & ~reset
        m.d.core += [cold.eq(asked), reset.eq(asked | stopped)]
        with m.If(reset):
            m.d.core += [running.eq(0), stopping.eq(0)]
        with m.If(cold):
            m.d.core += [
                signal.eq(0)
                for signal in (registers.error_code, registers.error_word, registers.layer)
            ]
        return m


def _any_transfer(port: Any) -> Value:
    """High while data or a response moves on an AXI4 port.

    The core is always ready for a read's data and a write's response.
    """
    return port.read.rvalid | (port.write.wvalid & port.write.wready) | port.write.bvalid
