"""The splitter of both ports cuts requests into bursts that cover them, within the window.

`AnyBursts` takes its place in the proofs of the ports. It may offer whatever keeps what is proved
here, so what is proved of a port with it holds with the splitter too.
"""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.bus import BURST, PAGE_BITS
from hw.contract.config import Config
from hw.core.axi import Request
from hw.core.dma import _Burst
from hw.core.window import Window
from tests.formal.harness import Defect, Harness, progress, stream_is_stable
from tests.hw.small_configs import TINY

__all__ = ["AnyBursts", "SplitterHarness"]

_MODULE = "hw.core.dma"
_BEAT_BITS = 2
"""log2 of the bytes of TINY's beat."""
_BLOCK_BITS = BURST.bit_length() - 1
_TAKEN = "a request is taken when it is there and the one before is covered"


def _stays_in_block(burst: Any) -> Value:
    """A burst does not leave its block of BURST beats."""
    return burst.address[_BEAT_BITS:][:_BLOCK_BITS] + burst.beats <= BURST


class SplitterHarness(Harness):
    """Splitter of one client's requests."""

    component = "Splitter (of ReadPort and WritePort)"
    sizes = (
        f"as built: bursts of {BURST} beats of 32 bits, "
        f"{TINY.address_bits} bits of address, any window"
    )
    defects = (
        Defect(
            module=_MODULE,
            old="to_edge = BURST - block",
            new="to_edge = BURST",
            breaks="no burst leaves its block, or is empty",
        ),
        Defect(module=_MODULE, old="idle.eq(last),", new="idle.eq(1),", breaks=_TAKEN),
        Defect(
            module=_MODULE,
            old="within = run.beats <= to_edge",
            new="within = run.beats < to_edge",
            breaks=_TAKEN,
        ),
        Defect(
            module=_MODULE,
            old="inside = page < self.window.pages",
            new="inside = page <= self.window.pages",
            breaks="no burst leaves the window",
        ),
    )

    def build(self) -> None:
        m = self.m
        m.submodules.dut = dut = self.source(_MODULE)._Splitter(TINY)
        self.drive(dut.requests.valid, "requests_valid")
        request = self.drive(dut.requests.payload, "requests_payload")
        ready = self.drive(dut.bursts.ready, "bursts_ready")
        burst, valid = dut.bursts.payload, dut.bursts.valid
        taken = dut.requests.valid & dut.requests.ready

        # The window changes in a reset alone.
        window = Signal.like(Value.cast(dut.window), reset_less=True)
        with m.If(self.reset):
            m.d.sync += window.eq(self.free(len(window), "window"))
        m.d.comb += dut.window.eq(window)

        # `at` is an offset into the window, as the requests' addresses are. It has a bit more than
        # they have: a request that passes the last offset does not come round to the first.
        at = Signal(len(request.address) + 1)
        left = Signal.like(request.beats)
        with m.If(valid & ready):
            m.d.sync += [at.eq(at + (burst.beats << _BEAT_BITS)), left.eq(left - burst.beats)]
        with m.If(taken):
            m.d.sync += [at.eq(request.address), left.eq(request.beats)]

        self.prove(_TAKEN, dut.requests.ready == (left == 0))
        self.prove(
            "a burst begins where the one before ended",
            ~valid | (burst.address == (at + (dut.window.page << PAGE_BITS))[: len(burst.address)]),
        )
        self.prove("a burst is no longer than its request", ~valid | (burst.beats <= left))
        self.prove(
            "no burst leaves its block, or is empty",
            ~valid | (_stays_in_block(burst) & (burst.beats != 0)),
        )
        self.prove(
            "only a request's end or a block's ends a burst",
            ~valid
            | (burst.beats == left)
            | (burst.address[_BEAT_BITS:][:_BLOCK_BITS] + burst.beats == BURST),
        )
        # A burst is compared with the window a cycle before it is offered; its offset is the same
        # unless it moved.
        inside = at[PAGE_BITS:] < dut.window.pages
        moved = self.register(taken | (valid & ready))
        self.prove(
            "no burst leaves the window",
            ~valid | (self.register(inside) & ~moved),
        )
        stream_is_stable(self, "bursts are stable", valid, ready, burst)
        progress(
            self,
            "a burst is offered, or is outside",
            favourable=left != 0,
            event=valid | dut.outside,
            cycles=3,
        )
        self.prove(
            "a burst is offered at most every other cycle", ~(valid & self.register(valid & ready))
        )
        self.prove("no request is taken while a burst is offered", ~(valid & dut.requests.ready))
        earlier = list(self.properties)
        self.prove(
            "`outside` tells of a burst that would leave the window",
            ~dut.outside | ((left != 0) & self.register(~inside) & ~moved),
            given=earlier,
        )
        self.prove(
            "a splitter that is outside takes and offers nothing",
            ~dut.outside | ~(valid | dut.requests.ready),
        )
        self.prove(
            "outside lasts until a reset",
            ~self.register(dut.outside) | dut.outside,
            given=[*earlier, "`outside` tells of a burst that would leave the window"],
        )
        second = Signal()
        with m.If(valid & ready):
            m.d.sync += second.eq(left != burst.beats)
        self.cover("a request takes two bursts", valid & second)
        self.cover("a burst is outside", dut.outside)


class AnyBursts(wiring.Component):
    """A splitter that offers any bursts, at any time; `choose` says which."""

    window: data.View[Window]
    requests: stream.Interface
    bursts: stream.Interface
    outside: Signal

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "window": In(Window(config)),
                "requests": In(stream.Signature(Request())),
                "bursts": Out(stream.Signature(_Burst(config))),
                "outside": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        return Module()

    def choose(self, harness: Harness, name: str) -> None:
        """Let the environment choose the bursts, among those that a splitter may offer.

        They keep what is proved of a splitter by construction, and not by an assumption: the
        solver can use that at every step.
        """
        m, bursts = harness.m, self.bursts
        begins = bursts.valid & bursts.ready
        waits = harness.register(bursts.valid & ~bursts.ready)
        offers = harness.free(1, f"{name}_offers") & ~harness.register(begins)
        chosen: Any = harness.free(bursts.payload.shape(), f"{name}_chosen")
        to_edge = BURST - chosen.address[_BEAT_BITS:][:_BLOCK_BITS]
        fits = (chosen.beats != 0) & (chosen.beats <= to_edge)
        burst: Any = Signal(bursts.payload.shape(), name=f"{name}_burst")
        m.d.comb += [burst.eq(chosen), burst.beats.eq(Mux(fits, chosen.beats, to_edge))]
        m.d.comb += [
            bursts.valid.eq(waits | offers),
            bursts.payload.eq(Mux(waits, harness.register(bursts.payload), Value.cast(burst))),
            self.requests.ready.eq(harness.free(1, f"{name}_requests_ready") & ~bursts.valid),
        ]
        harness.drive(self.outside, f"{name}_outside")
