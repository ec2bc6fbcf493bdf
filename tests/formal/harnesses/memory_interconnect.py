"""The interconnect of several cores: their turns, their bursts in order, and whose responses are.

Any one core is followed. Its number is chosen in a reset and stays the same.
"""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Mux, Signal
from amaranth.hdl import Value

from hw.contract.bus import ID_BITS
from hw.contract.system import System
from tests.formal.harness import (
    Defect,
    Harness,
    all_of,
    items_keep_their_order,
    progress,
    stream_is_stable,
)
from tests.hw.small_configs import TINY

__all__ = ["ReadInterconnectHarness", "RoundRobinHarness", "WriteInterconnectHarness"]

_TURNS, _MODULE = "hw.cores.round_robin", "hw.cores.memory_interconnect"
_REQUESTS = 16
_CORES = 3
_SYSTEM = System(config=TINY, cores=_CORES, memory_bits=TINY.bus_bits)
_BITS = "one bit of an address stands for all"

_ADDRESS_DEFECTS = (
    Defect(
        module=_MODULE,
        old="m.d.comb += taken.eq(~full[number])",
        new="m.d.comb += taken.eq(1)",
        breaks="every item leaves once, unchanged and in order",
    ),
    Defect(
        module=_MODULE,
        old="free = ~valid | ready",
        new="free = ~valid | ~ready",
        breaks="an offered burst is stable",
    ),
)


def _chosen_core(harness: Harness) -> Signal:
    """A core's number; any of them, and the same until the next reset."""
    number = Signal(range(_CORES), name="core", reset_less=True)
    chosen = harness.free(len(number), "core_chosen")
    with harness.m.If(harness.reset):
        harness.m.d.sync += number.eq(Mux(chosen < _CORES, chosen, 0))
    return number


class RoundRobinHarness(Harness):
    """Round robin, of whose requests any one is followed."""

    component = "RoundRobin"
    sizes = f"{_REQUESTS} requests, the most that are built"
    defects = (
        Defect(
            module=_TURNS,
            old="after.eq(~((2 << self.grant) - 1))",
            new="after.eq(~((1 << self.grant) - 1))",
            breaks="a request that is kept up waits for at most each other one",
        ),
        Defect(
            module=_TURNS,
            old="number = Mux(requests[request], request, number)",
            new="number = Mux(requests[request], request, 0)",
            breaks="a request is granted where there is one",
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.dut = dut = self.source(_TURNS).RoundRobin(_REQUESTS)
        self.drive(dut.requests, "requests")
        taken = self.drive(dut.taken, "taken")
        self.assume(~taken | dut.requests.any())
        self.prove(
            "a request is granted where there is one",
            ~dut.requests.any() | dut.requests.bit_select(dut.grant, 1),
        )
        one = Signal(range(_REQUESTS), name="one", reset_less=True)
        with m.If(self.reset):
            m.d.sync += one.eq(self.free(len(one), "one_chosen"))
        others, asks = Signal(range(_REQUESTS + 1), name="others"), Signal()
        m.d.comb += asks.eq(dut.requests.bit_select(one, 1))
        m.d.sync += others.eq(Mux(asks & (dut.grant != one), others + taken, 0))
        with m.If(taken & (dut.grant == one)):
            m.d.sync += others.eq(0)
        self.prove(
            "a request that is kept up waits for at most each other one",
            others < _REQUESTS,
        )
        self.cover("a request waits for each other one", others == _REQUESTS - 1)


class _InterconnectHarness(Harness):
    """What reads and writes have in common."""

    component = "MemoryInterconnect"
    channel: str
    response: str
    fields: tuple[str, ...]

    def build(self) -> None:
        m = self.m
        m.submodules.dut = dut = self.source(_MODULE).MemoryInterconnect(_SYSTEM)
        half = "read" if self.channel == "ar" else "write"
        self.port = port = getattr(dut.port, half)
        self.cores = cores = [getattr(core, half) for core in dut.cores]
        for number, core in enumerate(cores):
            for name in ("id", "addr", "len", "valid"):
                self.drive(getattr(core, f"{self.channel}{name}"), f"{name}_{number}")
            self.drive(getattr(core, f"{self.response}ready"), f"response_ready_{number}")
        ready = self.drive(getattr(port, f"{self.channel}ready"), "address_ready")
        self.environment()

        self.which = which = _chosen_core(self)
        core: Any = Array(cores)[which]
        offered, taken = (getattr(core, f"{self.channel}{name}") for name in ("valid", "ready"))
        valid = getattr(port, f"{self.channel}valid")
        request = [getattr(port, f"{self.channel}{name}") for name in ("id", "addr", "len")]
        self.owner = request[0][ID_BITS:]
        leaves = valid & ready & (self.owner == which)
        waits = items_keep_their_order(
            self,
            enters=offered & taken,
            item=Cat(getattr(core, f"{self.channel}{name}")[:2] for name in ("id", "addr", "len")),
            leaving=leaves,
            places=[Cat(request[0][:ID_BITS], *(part[:2] for part in request[1:]))],
            capacity=2,
        )
        self.prove("a burst at the port is that of a core", ~valid | (self.owner < _CORES))
        stream_is_stable(self, "an offered burst is stable", valid, ready, *request)
        # One of another core may be at the port when it comes.
        others = Signal(range(_CORES + 2), name="others")
        m.d.sync += others.eq(Mux((waits != 0) & ~leaves, others + (valid & ready), 0))
        self.prove("a burst waits for one that is offered, and one of each other", others <= _CORES)
        progress(
            self,
            "bursts leave, or their data",
            favourable=ready & (waits != 0) & self.favourable(),
            event=(valid & ready) | self.data_leave(),
            cycles=3,
        )
        self._responses()
        self.orders(valid, ready)

    def environment(self) -> None:
        """Drive what the two halves do not have in common."""

    def favourable(self) -> Value:
        """Conditions, beside that the port takes addresses, in which each core has its turn."""
        return Value.cast(1)

    def data_leave(self) -> Value:
        """Data of bursts leave in this cycle, for which others wait."""
        return Value.cast(0)

    def orders(self, valid: Value, ready: Value) -> None:
        """Prove what is said of one half alone."""

    def _responses(self) -> None:
        """A response passes to its core in the same cycle."""
        port, name = self.port, self.response
        valid = self.drive(getattr(port, f"{name}valid"), "response_valid")
        taken = getattr(port, f"{name}ready")
        text = [self.drive(getattr(port, f"{name}{field}"), field) for field in self.fields]
        number = self.drive(getattr(port, f"{name}id"), "response_id")
        owner = number[ID_BITS:]
        self.prove(
            "a response goes to the core that asked, and to no other",
            all_of(
                [
                    getattr(core, f"{name}valid") == (valid & (owner == place))
                    for place, core in enumerate(self.cores)
                ]
            ),
        )
        core: Any = Array(self.cores)[self.which]
        self.prove(
            "a response is taken when its core takes it, and is not changed",
            (owner != self.which)
            | (
                (taken == getattr(core, f"{name}ready"))
                & (getattr(core, f"{name}id") == number[:ID_BITS])
                & (Cat(*(getattr(core, f"{name}{field}") for field in self.fields)) == Cat(*text))
            ),
        )


class ReadInterconnectHarness(_InterconnectHarness):
    """The channels AR and R."""

    sizes = f"reads of {_CORES} cores; {_BITS}"
    channel, response, fields = "ar", "r", ("data", "resp", "last")
    defects = (
        *_ADDRESS_DEFECTS,
        Defect(
            module=_MODULE,
            old="mine = owner == number\n",
            new="mine = owner <= number\n",
            breaks="a response goes to the core that asked, and to no other",
        ),
        Defect(
            module=_MODULE,
            old='owner = turn.grant if field == "id" else Const(0, 0)',
            new='owner = Const(0, 2) if field == "id" else Const(0, 0)',
            breaks="a burst waits for one that is offered, and one of each other",
        ),
    )


class WriteInterconnectHarness(_InterconnectHarness):
    """The channels AW, W and B; a core that offers a burst has its data."""

    sizes = f"writes of {_CORES} cores, whose bursts have any length; {_BITS}"
    channel, response, fields = "aw", "b", ("resp",)
    defects = (
        Defect(
            module=_MODULE,
            old="order.r_en.eq(port.wvalid & port.wready & port.wlast)",
            new="order.r_en.eq(port.wvalid & port.wready)",
            breaks="a burst's beats are not interleaved with those of another core",
        ),
        Defect(
            module=_MODULE,
            old="granted.eq(full.any() & free & (1 if room is None else room))",
            new="granted.eq(full.any() & free)",
            breaks="the bursts' data leave in the order of their addresses",
        ),
        Defect(
            module=_MODULE,
            old="m.d.comb += one.wready.eq(mine & port.wready)",
            new="m.d.comb += one.wready.eq(port.wready)",
            breaks="a beat that is taken leaves in the same cycle, unchanged, and no other does",
        ),
    )

    def environment(self) -> None:
        self.drive(self.port.wready, "wready")
        for number, core in enumerate(self.cores):
            for name in ("wvalid", "wdata", "wstrb", "wlast"):
                self.drive(getattr(core, name), f"{name}_{number}")

    def favourable(self) -> Value:
        # Whoever's data are due has them.
        every = Value.cast(all_of([core.wvalid for core in self.cores]))
        return self.port.wready & every

    def data_leave(self) -> Value:
        left: Value = self.port.wvalid & self.port.wready
        return left

    def orders(self, valid: Value, ready: Value) -> None:
        m, port = self.m, self.port
        supplies = Signal(range(_CORES), name="supplies")
        moves = [core.wvalid & core.wready for core in self.cores]
        for number, moved in enumerate(moves):
            with m.If(moved):
                m.d.comb += supplies.eq(number)
        beat = port.wvalid & port.wready
        source: Any = Array(self.cores)[supplies]
        self.prove(
            "a beat that is taken leaves in the same cycle, unchanged, and no other does",
            (beat == Cat(*moves).any())
            & ((Cat(*moves) & (Cat(*moves) - 1))[:_CORES] == 0)
            & (
                ~beat
                | (
                    (port.wdata == source.wdata)
                    & (port.wstrb == source.wstrb)
                    & (port.wlast == source.wlast)
                )
            ),
        )
        within, before = Signal(name="within"), Signal.like(supplies, name="before")
        with m.If(beat):
            m.d.sync += [within.eq(~port.wlast), before.eq(supplies)]
        self.prove(
            "a burst's beats are not interleaved with those of another core",
            ~(beat & within) | (supplies == before),
        )
        # Any burst at the port is followed, from the cycle in which its address is offered.
        new = valid & ~self.register(valid & ~ready)
        count = 2 * _CORES + 2
        inside, ahead = Signal(range(count + 1), name="w_inside"), Signal(range(count + 1))
        followed, kept = Signal(name="w_followed"), Signal.like(self.owner, name="w_owner")
        picks = self.free(1, "w_picks")
        ends = beat & port.wlast
        m.d.sync += inside.eq(inside + new - ends)
        with m.If(~followed & new & picks):
            m.d.sync += [followed.eq(1), kept.eq(self.owner), ahead.eq(inside - ends)]
        with m.If(followed & ends):
            m.d.sync += [followed.eq(ahead != 0), ahead.eq(ahead - 1)]
        self.prove("data leave only for bursts whose addresses are offered", ~beat | (inside != 0))
        self.prove(
            "the bursts' data leave in the order of their addresses",
            ~(beat & followed & (ahead == 0)) | (supplies == kept),
        )
        self.cover("a followed burst's data end", ends & followed & (ahead == 0))
