"""The core: runs networks from memory by itself, started and watched through its registers.

Any fault, and `abort`, ends a program the same way: no new burst is begun, those under way are
answered, and everything but the registers is reset. So the next program finds a clean core, and the
bus never sees a broken transfer.
"""

from amaranth import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.axi import lite_ports, read_ports, write_ports
from hw.config import Config
from hw.registers import Fault, RegisterBlock
from hw.sequencer import Sequencer

__all__ = ["Core"]


class Core(wiring.Component):
    """The whole accelerator.

    Members
    -------
    m_axi_..., s_axil_... : see `hw.axi`
    irq : Out(1)
        See `hw.registers`.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                **lite_ports(),
                **read_ports(config),
                **write_ports(config),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        reset = Signal()
        sequencer = Sequencer(self._config)
        m.submodules.registers = registers = RegisterBlock()
        m.submodules.sequencer = ResetInserter(reset)(sequencer)
        for name, member in self.signature.members.items():
            owner = sequencer if name.startswith("m_axi") else registers
            inner, outer = getattr(owner, name), getattr(self, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)

        running = Signal()
        stopping = Signal()
        aborting = Signal()
        faulty = running & ~stopping & (sequencer.fault != Fault.NONE)
        m.d.comb += [
            registers.busy.eq(running),
            sequencer.start.eq(registers.start & ~running),
            sequencer.program.eq(registers.program),
            sequencer.point.eq(registers.point),
            sequencer.counter.eq(registers.counter),
            registers.total.eq(sequencer.total),
            sequencer.halt.eq(stopping),
            registers.done.eq(sequencer.done & ~stopping),
            registers.error.eq(reset & ~aborting),
            registers.aborted.eq(reset & aborting),
        ]
        with m.If(sequencer.start):
            m.d.sync += [running.eq(1), aborting.eq(0), registers.error_code.eq(Fault.NONE)]
        with m.If(running & ~stopping):
            m.d.sync += registers.layer.eq(sequencer.layer)
        with m.If(sequencer.done & ~stopping):
            m.d.sync += running.eq(0)
        with m.If(faulty):
            m.d.sync += [
                stopping.eq(1),
                registers.error_code.eq(sequencer.fault),
                registers.error_word.eq(sequencer.fault_word),
            ]
        with m.Elif(registers.abort & running & ~stopping & ~sequencer.done):
            m.d.sync += [stopping.eq(1), aborting.eq(1)]
        m.d.sync += reset.eq(stopping & sequencer.idle & ~reset)
        with m.If(reset):
            m.d.sync += [running.eq(0), stopping.eq(0)]
        return m
