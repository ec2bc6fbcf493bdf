"""Task choice: decides which pixel vector the MAC array computes next."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.layouts.pixels import PixelVector, Tag, Task
from hw.lib.structs import struct_signal

__all__ = ["TaskChoice"]


class TaskChoice(wiring.Component):
    """Makes tasks of two streams of pixel vectors: the survivors first, else the `I_s` pass.

    A vector without pixels makes no task: it only marks the end of its pass through a channel.

    The `I_s` pass is held up by registers: `blocked` takes effect a cycle late, and in the cycle
    after the end of a pass through a channel nothing of the next is chosen.

    Members
    -------
    pattern : In(stream of PixelVector)
        The `I_s` pixels, channel after channel.
    survivors : In(stream of PixelVector)
        The survivors, channel after channel.
    oldest, scheduled : In
        Low bits of the channel at which the survivors' pass and the `I_s` pass are.
    oldest_weights, scheduled_weights : In(address)
        First weight word of these channels.
    survivors_done : In(1)
        The survivors' pass through `oldest` has ended; no survivor is taken.
    blocked : In(1)
        The `I_s` pass must not go on, from the next cycle on.
    survivors_blocked : In(1)
        No survivor is taken in this cycle.
    values_blocked : In(1)
        The predictor's queue has no room for the activations of another task of the `I_s` pass.
    tasks : Out(stream of Task)
    issued : Out(1)
        A task is taken in this cycle.
    pattern_waits : Out(1)
        A vector of `I_s` pixels is there.
    pattern_pixels : Out(range(P + 1))
        `I_s` pixels of the task that is taken in this cycle.
    pattern_ends, survivors_end : Out(1)
        A pass through its channel ends in this cycle. Neither is high in two cycles running.
    """

    pattern: stream.Interface
    survivors: stream.Interface
    oldest: Signal
    scheduled: Signal
    oldest_weights: Signal
    scheduled_weights: Signal
    survivors_done: Signal
    blocked: Signal
    survivors_blocked: Signal
    values_blocked: Signal
    tasks: stream.Interface
    issued: Signal
    pattern_waits: Signal
    pattern_pixels: Signal
    pattern_ends: Signal
    survivors_end: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        channel = Tag(config)["channel"].width
        weights = ceil_log2(config.weight_words)
        super().__init__(
            {
                "pattern": In(stream.Signature(PixelVector(config))),
                "survivors": In(stream.Signature(PixelVector(config))),
                "oldest": In(channel),
                "scheduled": In(channel),
                "oldest_weights": In(weights),
                "scheduled_weights": In(weights),
                "survivors_done": In(1),
                "blocked": In(1),
                "survivors_blocked": In(1),
                "values_blocked": In(1),
                "tasks": Out(stream.Signature(Task(config))),
                "issued": Out(1),
                "pattern_waits": Out(1),
                "pattern_pixels": Out(range(config.pes + 1)),
                "pattern_ends": Out(1),
                "survivors_end": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pattern, survivors = self.pattern, self.survivors
        task = self.tasks.payload
        admitted = Signal()
        survivor_offer = Signal()
        pattern_offer = Signal()
        # `blocked` comes from long logic, and much depends on the choice: hence the register.
        m.d.sync += admitted.eq(~(self.blocked | self.pattern_ends))
        m.d.comb += [
            self.pattern_waits.eq(pattern.valid & pattern.payload.mask[0]),
            survivor_offer.eq(
                survivors.valid
                & survivors.payload.mask[0]
                & ~self.survivors_done
                & ~self.survivors_blocked
            ),
            pattern_offer.eq(self.pattern_waits & admitted & ~self.values_blocked),
        ]

        chosen = struct_signal(PixelVector(self._config), name="chosen")
        m.d.comb += [
            self.tasks.valid.eq(survivor_offer | pattern_offer),
            chosen.eq(Mux(survivor_offer, survivors.payload, pattern.payload)),
            task.pixels.eq(chosen.pixels),
            task.mask.eq(chosen.mask),
            task.weight_base.eq(Mux(survivor_offer, self.oldest_weights, self.scheduled_weights)),
            task.tag.channel.eq(Mux(survivor_offer, self.oldest, self.scheduled)),
            task.tag.survivor.eq(survivor_offer),
        ]

        pattern_issued = self.issued & ~survivor_offer
        empty_pattern = pattern.valid & ~pattern.payload.mask[0] & admitted
        empty_survivors = survivors.valid & ~survivors.payload.mask[0] & ~self.survivors_done
        m.d.comb += [
            self.issued.eq(self.tasks.valid & self.tasks.ready),
            pattern.ready.eq(pattern_issued | empty_pattern),
            survivors.ready.eq((self.issued & survivor_offer) | empty_survivors),
            self.pattern_pixels.eq(Mux(pattern_issued, sum(pattern.payload.mask), 0)),
            self.pattern_ends.eq(pattern.valid & pattern.ready & pattern.payload.end),
            self.survivors_end.eq(survivors.valid & survivors.ready & survivors.payload.end),
        ]
        return m
