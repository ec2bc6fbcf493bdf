"""Memory interconnect: joins the AXI4 ports of several cores to one.

    core 0 -> slot -\
    core 1 -> slot --+-> round robin -> register -> port      the same for AR and AW
    ...             /
                                             W in the order of the granted AW, a burst at a time
                                             R and B to the core whose number is in the ID

An address waits in its core's slot for its turn. It leaves with the core's number above its own ID,
which says where the responses belong. One read and one write burst can be granted in each cycle.
Data and responses pass through in the same cycle.

A core that offers a write burst has to have all of its data: until its last beat has left, the
bursts of other cores wait behind it.
"""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hw.contract.bus import ID_BITS
from hw.contract.system import System
from hw.core.axi import Axi4Signature
from hw.cores.round_robin import RoundRobin

__all__ = ["MemoryInterconnect"]

_ORDERED = 2
"""Bursts of each core whose data can be under way: one that leaves, and one that was granted."""
_REQUEST = ("id", "addr", "len")
"""Members of an address channel that differ between bursts."""


class MemoryInterconnect(wiring.Component):
    """Serves the cores in turn: a burst waits for at most one of each other core.

    Responses of different bursts may come in any order, and their beats may be interleaved.

    Parameters
    ----------
    system : System

    Members
    -------
    cores : In(Axi4Signature).array(cores)
        As wide as the port.
    port : Out(Axi4Signature)
    """

    cores: Any
    port: Any

    def __init__(self, system: System) -> None:
        self._system = system
        config, bits = system.config, system.memory_bits
        core = Axi4Signature(config, data_bits=bits)
        super().__init__(
            {
                "cores": In(core).array(system.cores),
                "port": Out(Axi4Signature(config, data_bits=bits, id_bits=system.id_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reads = [core.read for core in self.cores]
        writes = [core.write for core in self.cores]
        self._addresses(m, "ar", reads, self.port.read)
        self._responses(m, "r", reads, self.port.read, ("data", "resp", "last"))
        order = SyncFIFOBuffered(width=self._system.core_bits, depth=_ORDERED * self._system.cores)
        m.submodules.order = order
        granted, number = self._addresses(m, "aw", writes, self.port.write, order.w_rdy)
        m.d.comb += [order.w_en.eq(granted), order.w_data.eq(number)]
        self._write_data(m, writes, order)
        self._responses(m, "b", writes, self.port.write, ("resp",))
        return m

    def _addresses(
        self, m: Module, channel: str, cores: list[Any], port: Any, room: Value | None = None
    ) -> tuple[Value, Value]:
        """Grant the bursts of an address channel. Returns whether one is, and its core's number.

        None is granted while there is no `room` for it.
        """
        m.submodules[f"{channel}_turn"] = turn = RoundRobin(len(cores))
        valid, ready = (getattr(port, f"{channel}{name}") for name in ("valid", "ready"))
        slots: dict[str, list[Signal]] = {field: [] for field in _REQUEST}
        full = Signal(len(cores), name=f"{channel}_full")
        granted = Signal(name=f"{channel}_granted")
        for number, core in enumerate(cores):
            offered, taken = (getattr(core, f"{channel}{name}") for name in ("valid", "ready"))
            m.d.comb += taken.eq(~full[number])
            for field in _REQUEST:
                source = getattr(core, f"{channel}{field}")
                slot = Signal.like(source, name=f"{channel}_{field}_{number}")
                slots[field].append(slot)
                with m.If(taken):
                    m.d.sync += slot.eq(source)
            with m.If(offered & taken):
                m.d.sync += full[number].eq(1)
            with m.If(granted & (turn.grant == number)):
                m.d.sync += full[number].eq(0)
        free = ~valid | ready
        m.d.comb += [
            turn.requests.eq(full),
            granted.eq(full.any() & free & (1 if room is None else room)),
            turn.taken.eq(granted),
        ]
        with m.If(ready):
            m.d.sync += valid.eq(0)
        with m.If(granted):
            m.d.sync += valid.eq(1)
            for field in _REQUEST:
                value = Array(slots[field])[turn.grant]
                owner = turn.grant if field == "id" else Const(0, 0)
                m.d.sync += getattr(port, f"{channel}{field}").eq(Cat(value, owner))
        return granted, turn.grant

    def _write_data(self, m: Module, cores: list[Any], order: SyncFIFOBuffered) -> None:
        """Pass on the data of the burst that was granted first and has not left."""
        port = self.port.write
        core = Array(cores)[order.r_data]
        m.d.comb += [
            port.wvalid.eq(order.r_rdy & core.wvalid),
            port.wdata.eq(core.wdata),
            port.wstrb.eq(core.wstrb),
            port.wlast.eq(core.wlast),
            order.r_en.eq(port.wvalid & port.wready & port.wlast),
        ]
        for number, one in enumerate(cores):
            mine = order.r_rdy & (order.r_data == number)
            m.d.comb += one.wready.eq(mine & port.wready)

    def _responses(
        self, m: Module, channel: str, cores: list[Any], port: Any, fields: tuple[str, ...]
    ) -> None:
        """Hand each response to the core that it belongs to; all cores see what it says."""
        response = getattr(port, f"{channel}id")
        owner = response[ID_BITS:]
        for number, core in enumerate(cores):
            mine = owner == number
            m.d.comb += [
                getattr(core, f"{channel}valid").eq(getattr(port, f"{channel}valid") & mine),
                getattr(core, f"{channel}id").eq(response[:ID_BITS]),
                *(
                    getattr(core, f"{channel}{field}").eq(getattr(port, f"{channel}{field}"))
                    for field in fields
                ),
            ]
            with m.If(mine):
                ready = getattr(core, f"{channel}ready")
                m.d.comb += getattr(port, f"{channel}ready").eq(ready)
