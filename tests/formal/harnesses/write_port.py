"""The write port sends its splitter's bursts, follows AXI's rules, and halts.

Its environment is any splitter (`AnyBursts`), and any memory that answers a burst only once it has
all of it.
"""

from __future__ import annotations

from amaranth import Cat, Mux, Signal
from amaranth.hdl import Fragment
from amaranth.lib.fifo import SyncFIFOBuffered

from hw.contract.bus import BURST
from tests.formal.harness import (
    Defect,
    Harness,
    progress,
    stream_is_stable,
)
from tests.formal.harnesses.splitter import AnyBursts
from tests.hw.small_configs import TINY

__all__ = ["WritePortHarness"]

_MODULE = "hw.core.dma"
_RESPONSES = 16
_SIZES = f"bursts of {BURST} beats, {_RESPONSES} open bursts; one bit of a beat stands for all"


class WritePortHarness(Harness):
    """Write port; `QueueHarness` is about the order of its words."""

    component = "WritePort"
    sizes = f"as built: {_SIZES}"
    defects = (
        Defect(
            module=_MODULE,
            old="                & (responses != _RESPONSES)\n",
            new="",
            breaks="no more bursts are open than may be",
        ),
        Defect(
            module=_MODULE,
            old="complete.eq(burst.valid & (level >= burst.payload.beats)",
            new="complete.eq(burst.valid & (level != 0)",
            breaks="a burst's beats follow without a gap",
        ),
        Defect(
            module=_MODULE,
            old="                & ~self.halt\n            ),\n            burst.ready",
            new="            ),\n            burst.ready",
            breaks="a halted port begins no burst",
        ),
        Defect(
            module=_MODULE,
            old="self.idle.eq(~self.axi.awvalid & (left == 0) & (responses == 0))",
            new="self.idle.eq(~self.axi.awvalid & (left == 0))",
            breaks="a port is idle when no burst is open",
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_MODULE)
        splitters = self.stand_in(module, "_Splitter", AnyBursts)
        queues = self.stand_in(module, "SyncFIFOBuffered", SyncFIFOBuffered)
        dut = module.WritePort(TINY)
        m.submodules.dut = Fragment.get(dut, None)
        (splitter,), (queue,) = splitters, queues
        # No bit of a word has an influence on another, or on what happens: one stands for all.
        m.d.comb += dut.words.payload.eq(self.free(1, "words_bit"))
        splitter.choose(self, "bursts")
        axi = dut.axi
        self.drive(dut.requests.valid, "requests_valid")
        self.drive(dut.words.valid, "words_valid")
        for name in ("awready", "wready", "bvalid", "bresp"):
            self.drive(getattr(axi, name), name)
        self.drive(dut.halt, "halt")
        self.drive(dut.window, "window")
        bursts = splitter.bursts
        leaves = axi.wvalid & axi.wready

        begins = bursts.valid & bursts.ready
        offered = axi.awvalid & ~self.register(axi.awvalid & ~axi.awready)
        began = self.register(begins)
        fields = self.register(bursts.payload)
        self.prove("a burst that is taken is on the bus in the next cycle", offered == began)
        self.prove(
            "a burst on the bus has the address and length of the one that was taken",
            ~offered | (Cat(axi.awaddr, axi.awlen + 1)[: len(fields)] == fields),
        )
        stream_is_stable(
            self, "addresses are stable", axi.awvalid, axi.awready, axi.awaddr, axi.awlen
        )
        stream_is_stable(self, "beats are stable", axi.wvalid, axi.wready, axi.wdata, axi.wlast)

        beats = Signal(range(BURST + 1))
        m.d.sync += beats.eq(Mux(begins, bursts.payload.beats, beats - leaves))
        self.prove(
            "a burst begins when the beats of the one before have left", ~begins | (beats == 0)
        )
        self.prove(
            "a burst's beats follow without a gap",
            (axi.wvalid == (beats != 0)) & (queue.level >= beats),
        )
        self.prove("the last beat is marked", ~axi.wvalid | (axi.wlast == (beats == 1)))
        self.prove("every byte of a beat is written", ~axi.wvalid | axi.wstrb.all())

        # The memory answers a burst once it has its address and all its beats; both can be missing
        # of the last burst alone.
        open_ = Signal(range(2 * _RESPONSES), name="open")
        answered = axi.bvalid & axi.bready
        m.d.sync += open_.eq(open_ + begins - answered)
        self.assume(~axi.bvalid | (open_ > (axi.awvalid | (beats != 0))))
        self.prove(
            "a burst begins when the address of the one before is taken",
            ~begins | ~axi.awvalid | axi.awready,
        )
        self.prove("no more bursts are open than may be", open_ <= _RESPONSES)
        self.prove("a burst outside the window is reported", dut.outside == splitter.outside)
        self.prove("responses are taken at once", axi.bready)
        self.prove("an error is reported as it arrives", dut.error == (answered & axi.bresp[1]))
        self.prove("a beat is counted as it leaves", dut.beat == leaves)
        self.prove("a halted port begins no burst", ~(self.register(dut.halt) & offered))
        self.prove("a port is idle when no burst is open", dut.idle == (open_ == 0))
        self.prove(
            "a port is done when it is idle and nothing is asked for",
            dut.done == (dut.idle & splitter.requests.ready & ~dut.requests.valid),
        )

        self.prove(
            "words enter the queue and leave from it",
            (queue.w_en == dut.words.valid)
            & (queue.w_rdy == dut.words.ready)
            & (queue.w_data == dut.words.payload)
            & (~axi.wvalid | queue.r_rdy)
            & (queue.r_en == leaves)
            & (queue.r_data == axi.wdata),
        )
        words = queue.level
        free = axi.awready & axi.wready & (open_ != _RESPONSES) & ~dut.halt
        progress(
            self,
            "a burst begins soon where its words are there and nothing hinders it",
            favourable=free & bursts.valid & (words >= bursts.payload.beats) & (beats == 0),
            event=begins,
            cycles=3,
        )
        self.prove(
            "there is space for the words of a whole burst", dut.words.ready | (words >= BURST)
        )
        self.cover(
            "a whole burst is answered",
            answered & self.flag(axi.awvalid & (axi.awlen == BURST - 1), "whole"),
        )
