"""The queues that hold words between components keep them all, in order."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux, Signal

from tests.formal.harness import (
    Defect,
    Harness,
    items_keep_their_order,
    progress,
    stream_is_stable,
)

__all__ = ["AnyOrderedQueue", "AnyQueue", "QueueHarness"]

_MODULE = "amaranth.lib.fifo"


class QueueHarness(Harness):
    """The queue of `hw.lib.queue`, and of the write port: Amaranth's, with a register behind."""

    component = "SyncFIFOBuffered"
    sizes = "4 words in memory and one behind; one bit of a word stands for all"
    name = "SyncFIFOBuffered"
    depth = 5
    defects = (
        Defect(
            module=_MODULE,
            old="do_inner_read  = inner_r_rdy & (~self.r_rdy | self.r_en)",
            new="do_inner_read  = inner_r_rdy & ~self.r_rdy",
            breaks="a word can leave every cycle",
        ),
    )

    def build(self) -> None:
        m = self.m
        queue = getattr(self.source(_MODULE), self.name)(width=1, depth=self.depth)
        m.submodules.dut = queue
        for name in ("w_en", "w_data", "r_en"):
            self.drive(getattr(queue, name), name)
        enters, leaves = queue.w_en & queue.w_rdy, queue.r_en & queue.r_rdy
        inside = items_keep_their_order(
            self,
            enters=enters,
            item=queue.w_data,
            leaving=leaves,
            places=[queue.r_data],
            capacity=self.depth,
        )
        self.prove("the level is the number of words", queue.level == inside)
        self.prove(
            "a word is refused only where all but one place are taken",
            queue.w_rdy | (inside >= self.depth - 1),
        )
        stream_is_stable(self, "words are stable", queue.r_rdy, queue.r_en, queue.r_data)
        progress(self, "a word can leave soon", favourable=inside != 0, event=queue.r_rdy, cycles=2)
        self.prove(
            "a word can leave every cycle",
            queue.r_rdy | (self.register(inside) < 2),
        )


class AnyQueue(Elaboratable):
    """A queue of which only the number of its words is kept.

    It may offer its first word at any time, and then does so until it is taken. So what is proved
    with it holds with any queue of which the properties above are proved.
    """

    def __init__(self, *, width: int, words: int) -> None:
        self.depth = words + 1
        self.w_en, self.w_rdy, self.r_en, self.r_rdy = (
            Signal(name=name) for name in ("w_en", "w_rdy", "r_en", "r_rdy")
        )
        self.w_data, self.r_data = Signal(width, name="w_data"), Signal(width, name="r_data")
        self.level = Signal(range(self.depth + 1), name="level")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.w_rdy.eq(self.level < self.depth - 1)
        enters, leaves = self.w_en & self.w_rdy, self.r_en & self.r_rdy
        m.d.sync += self.level.eq(self.level + enters - leaves)
        return m

    def choose(self, harness: Harness, name: str) -> None:
        """Let the environment choose when a word is offered, and which."""
        waits = harness.register(self.r_rdy & ~self.r_en)
        offers = harness.free(1, f"{name}_offers") & (self.level != 0)
        data = harness.free(len(self.r_data), f"{name}_data")
        harness.m.d.comb += [
            self.r_rdy.eq(waits | offers),
            self.r_data.eq(Mux(waits, harness.register(self.r_data), data)),
        ]


class AnyOrderedQueue(Elaboratable):
    """A queue whose words lie in `places`, the first one first, so that invariants are short.

    It may refuse a word where all but one place are taken, and offers its first word at any time.
    So what is proved with it holds with any queue of which the properties above are proved.
    """

    def __init__(self, *, width: int, depth: int) -> None:
        self.depth = depth
        self.w_en, self.w_rdy, self.r_en, self.r_rdy = (
            Signal(name=name) for name in ("w_en", "w_rdy", "r_en", "r_rdy")
        )
        self.w_data = Signal(width, name="w_data")
        self.places = [Signal(width, name=f"place_{place}") for place in range(depth)]
        self.r_data = self.places[0]
        self.level = Signal(range(depth + 1), name="level")
        self.enters, self.leaves = Signal(name="enters"), Signal(name="leaves")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.enters.eq(self.w_en & self.w_rdy),
            self.leaves.eq(self.r_en & self.r_rdy),
        ]
        after = (self.level - self.leaves)[: len(self.level)]
        m.d.sync += self.level.eq(after + self.enters)
        behind = [*self.places[1:], self.places[-1]]
        for number, place in enumerate(self.places):
            with m.If(self.enters & (after == number)):
                m.d.sync += place.eq(self.w_data)
            with m.Elif(self.leaves):
                m.d.sync += place.eq(behind[number])
        return m

    def choose(self, harness: Harness, name: str) -> None:
        """Let the environment choose when a word is taken and offered."""
        waits = harness.register(self.r_rdy & ~self.r_en)
        offers = harness.free(1, f"{name}_offers")
        takes = harness.free(1, f"{name}_takes") & (self.level < self.depth)
        harness.m.d.comb += [
            self.r_rdy.eq((waits | offers) & (self.level != 0)),
            self.w_rdy.eq((self.level < self.depth - 1) | takes),
        ]
