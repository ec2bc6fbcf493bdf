"""The splitter of both ports cuts requests into bursts that cover them exactly.

`AnyBursts` takes its place in the proofs of the ports. It may offer whatever keeps what is proved
here, so what is proved of a port with it holds with the splitter too.
"""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.hdl import Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.bus import BURST
from hw.contract.config import Config
from hw.core.axi import Request
from hw.core.dma import _Burst
from tests.formal.harness import Defect, Harness, progress, stream_is_stable
from tests.hw.small_configs import TINY

__all__ = ["AnyBursts", "SplitterHarness"]

_MODULE = "hw.core.dma"
_BEAT_BITS = 2  # log2 of the bytes of a beat of TINY


def _in_block(address: Value, beats: Value) -> Value:
    """A burst does not leave its block of BURST beats."""
    place = address[_BEAT_BITS:][: BURST.bit_length() - 1]
    return place + beats <= BURST


class SplitterHarness(Harness):
    """Splitter of one client's requests."""

    component = "Splitter (of ReadPort and WritePort)"
    sizes = f"as built: bursts of {BURST} beats of 32 bits"
    defects = (
        Defect(
            module=_MODULE,
            old="to_edge = BURST - block",
            new="to_edge = BURST",
            breaks="no burst leaves its block, or is empty",
        ),
        Defect(
            module=_MODULE,
            old="idle.eq(last),",
            new="idle.eq(1),",
            breaks="a request is taken when the one before is covered",
        ),
        Defect(
            module=_MODULE,
            old="within = run.beats <= to_edge",
            new="within = run.beats < to_edge",
            breaks="a request is taken when it is there and the one before is covered",
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

        at, left = Signal.like(request.address), Signal.like(request.beats)
        with m.If(valid & ready):
            m.d.sync += [
                at.eq(at + (burst.beats << _BEAT_BITS)),
                left.eq(left - burst.beats),
            ]
        with m.If(taken):
            m.d.sync += [at.eq(request.address), left.eq(request.beats)]

        self.prove("a request is taken when the one before is covered", ~taken | (left == 0))
        self.prove("a burst begins where the one before ended", ~valid | (burst.address == at))
        self.prove("a burst is no longer than its request", ~valid | (burst.beats <= left))
        self.prove(
            "no burst leaves its block, or is empty",
            ~valid | (_in_block(burst.address, burst.beats) & (burst.beats != 0)),
        )
        self.prove(
            "only a request's end or a block's ends a burst",
            ~valid
            | (burst.beats == left)
            | (burst.address[_BEAT_BITS:][: BURST.bit_length() - 1] + burst.beats == BURST),
        )
        stream_is_stable(self, "bursts are stable", valid, ready, burst)
        progress(self, "a burst is offered", favourable=left != 0, event=valid, cycles=3)
        self.prove(
            "a request is taken when it is there and the one before is covered",
            dut.requests.ready == (left == 0),
        )
        self.prove(
            "a burst is offered at most every other cycle",
            ~(valid & self.register(valid & ready)),
        )
        self.prove("no request is taken while a burst is offered", ~(valid & dut.requests.ready))
        second = Signal()
        with m.If(valid & ready):
            m.d.sync += second.eq(left != burst.beats)
        self.cover("a request takes two bursts", valid & second)


class AnyBursts(wiring.Component):
    """A splitter that offers any bursts, at any time; `watch` adds what is known of it."""

    requests: stream.Interface
    bursts: stream.Interface

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "requests": In(stream.Signature(Request())),
                "bursts": Out(stream.Signature(_Burst())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        return Module()

    def choose(self, harness: Harness, name: str) -> None:
        """Let the environment choose the bursts."""
        valid = harness.drive(self.bursts.valid, f"{name}_valid")
        burst: Any = harness.drive(self.bursts.payload, f"{name}_payload")
        harness.drive(self.requests.ready, f"{name}_requests_ready")
        waits = harness.register(valid & ~self.bursts.ready)
        unchanged = harness.register(burst) == Value.cast(burst)
        harness.assume(~waits | (valid & unchanged))
        harness.assume(~valid | (_in_block(burst.address, burst.beats) & (burst.beats != 0)))
        harness.assume(~(valid & self.requests.ready))
        harness.assume(~(valid & harness.register(valid & self.bursts.ready)))
