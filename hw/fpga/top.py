"""Top level for measurements: the core alone, with a register at every port.

One long shift register drives the core's inputs, and a tree of registered exclusive-ors takes its
outputs. So two pins are enough for a bus of any width, no path runs to or from a pin, and no logic
is removed because nothing uses it. On a board, the user's own system takes its place.
"""

from __future__ import annotations

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Out

from hw.contract.config import Config
from hw.core.core import Core

__all__ = ["CORE", "Top"]

CORE = "core"
"""Name of the core in `Top`. Everything else there only serves the measurement."""

_LUT_INPUTS = 4


class Top(wiring.Component):
    """The core between registers.

    Members
    -------
    i : In(1)
    o : Out(1)
    """

    i: Signal
    o: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules[CORE] = core = Core(self._config)
        ports: dict[Flow, list[Value]] = {In: [], Out: []}
        for _, member, port in core.signature.flatten(core):
            ports[member.flow].append(port)

        inputs = Signal(sum(len(port) for port in ports[In]), reset_less=True)
        m.d.sync += inputs.eq(Cat(self.i, inputs))
        m.d.comb += Cat(ports[In]).eq(inputs)
        level = Cat(ports[Out])
        while True:
            registered = Signal(len(level), reset_less=True)
            m.d.sync += registered.eq(level)
            if len(level) == 1:
                break
            level = Cat(
                registered[first : first + _LUT_INPUTS].xor()
                for first in range(0, len(registered), _LUT_INPUTS)
            )
        m.d.comb += self.o.eq(registered)
        return m
