"""The queues that hold words between components keep them all, in order."""

from __future__ import annotations

from tests.formal.harness import (
    Defect,
    Harness,
    items_keep_their_order,
    progress,
    stream_is_stable,
)

__all__ = ["QueueHarness"]

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
