"""Round robin: chooses one of several requests, and each of them in turn where all ask."""

from __future__ import annotations

from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobin"]


class RoundRobin(wiring.Component):
    """Grants the first request after the one that was taken last, so that none waits for ever.

    A request that is kept up waits for at most `count` - 1 others.

    Parameters
    ----------
    count : int

    Members
    -------
    requests : In(count)
    taken : In(1)
        The granted request is served in this cycle.
    grant : Out(range(count))
        Valid while there is a request, in the same cycle.
    """

    requests: Signal
    taken: Signal
    grant: Signal

    def __init__(self, count: int) -> None:
        self._count = count
        super().__init__({"requests": In(count), "taken": In(1), "grant": Out(range(count))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A one for each request that has a higher number than the one that was taken last.
        after = Signal(self._count)
        ahead = self.requests & after
        m.d.comb += self.grant.eq(
            Mux(ahead.any(), self._lowest(ahead), self._lowest(self.requests))
        )
        with m.If(self.taken):
            m.d.sync += after.eq(~((2 << self.grant) - 1))
        return m

    def _lowest(self, requests: Value) -> Value:
        """The number of the lowest one."""
        number: Value = Const(0)
        for request in reversed(range(self._count)):
            number = Mux(requests[request], request, number)
        return number
