"""Channel window: keeps account of the channels in work, at most two at a time."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.contract.config import Config
from hw.contract.program import MOST_SLOTS
from hw.engine.record_loader import RECORD_SLOTS
from hw.layouts.descriptor import LayerDescriptor
from hw.lib.countdown import Countdown
from hw.lib.pipeline import delayed

__all__ = ["ChannelWindow"]

_IN_FLIGHT_BITS = 8
"""Width of a count of tasks between issue and their last stored result."""


class ChannelWindow(wiring.Component):
    """Says at which channel each of the two passes is, and when a channel is done with.

    The `I_s` pass is at channel `scheduled`, the survivors' pass at channel `oldest`. The `I_s`
    pass may be in the same channel or one further; where it is through with that one as well, it
    waits. The oldest channel retires when both passes through it have ended, all its results are
    stored, and its restored rows, if any, are in their ofm bank.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable while `running`.
    start : In(1)
        A layer begins, with channel 0.
    running : In(1)
        A layer is in work.
    zap : In(1)
        The layer has a ZAP; without, there is no survivors' pass.
    pattern_ends, survivors_end : In(1)
        A pass through its channel ends.
    issued, issued_parity : In(1)
        A task is issued, of a channel with that lowest bit.
    stored, stored_parity : In(1)
        A task's last result is stored, of a channel with that lowest bit.
    record_loaded, residual_loaded, rows_restored : In(1)
        One more channel's record, group's residual, and group's restored rows are on chip.
    slice_loaded : In(1)
        One more slice of the ifm is in its buffer, of this layer or of the next one.
    bank_drained : In(1)
        An ofm bank is clear again.
    oldest, scheduled : Out(channel)
        Each counts to the number of channels, where its pass through the layer has ended.
    oldest_weights, scheduled_weights : Out(address)
        First weight word of these channels.
    survivors_done : Out(1)
        The survivors' pass through the oldest channel has ended.
    full : Out(1)
        The `I_s` pass is through with both channels.
    loads_missing : Out(1)
        The record, the residual or the slice of the `I_s` pass's next channel is not on chip.
    slice_missing : Out(1)
        The oldest channel's slice may not be on chip, so its survivors must not be computed yet.
    banks_taken : Out(1)
        Both ofm banks hold groups that have not left.
    all_scheduled, all_retired : Out(1)
        The `I_s` pass through the layer has ended; every channel has retired.
    retired : Out(1)
        The oldest channel retires in this cycle.
    group_retired : Out(1)
        So does its group of G channels.
    slice_retired : Out(1)
        So do all channels that read its slice of the ifm, where that comes in slices.
    """

    layer: data.View
    start: Signal
    running: Signal
    zap: Signal
    pattern_ends: Signal
    survivors_end: Signal
    issued: Signal
    issued_parity: Signal
    stored: Signal
    stored_parity: Signal
    record_loaded: Signal
    residual_loaded: Signal
    slice_loaded: Signal
    rows_restored: Signal
    bank_drained: Signal
    oldest: Signal
    scheduled: Signal
    oldest_weights: Signal
    scheduled_weights: Signal
    survivors_done: Signal
    full: Signal
    loads_missing: Signal
    slice_missing: Signal
    banks_taken: Signal
    all_scheduled: Signal
    all_retired: Signal
    retired: Signal
    group_retired: Signal
    slice_retired: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        # Channels whose I_s pass has ended, and that have not retired.
        self._ahead = Signal(range(3), name="ahead")
        channel = bits_for(config.most_channels)
        weights = ceil_log2(config.weight_words)
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "start": In(1),
                "running": In(1),
                "zap": In(1),
                "pattern_ends": In(1),
                "survivors_end": In(1),
                "issued": In(1),
                "issued_parity": In(1),
                "stored": In(1),
                "stored_parity": In(1),
                "record_loaded": In(1),
                "residual_loaded": In(1),
                "slice_loaded": In(1),
                "rows_restored": In(1),
                "bank_drained": In(1),
                "oldest": Out(channel),
                "scheduled": Out(channel),
                "oldest_weights": Out(weights),
                "scheduled_weights": Out(weights),
                "survivors_done": Out(1),
                "full": Out(1),
                "loads_missing": Out(1),
                "slice_missing": Out(1),
                "banks_taken": Out(1),
                "all_scheduled": Out(1),
                "all_retired": Out(1),
                "retired": Out(1),
                "group_retired": Out(1),
                "slice_retired": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Neither pass ends in two cycles running, so these flags may come from registers.
        last_oldest = Signal()
        last_scheduled = Signal()
        m.d.sync += [
            last_oldest.eq(self.oldest + 1 == self.layer.channels),
            last_scheduled.eq(self.scheduled + 1 == self.layer.channels),
        ]
        restored_in_place = self._count_resources(m, last_oldest, last_scheduled)
        oldest_in_flight = self._count_in_flight(m)
        self._move_passes(m, oldest_in_flight, restored_in_place)
        return m

    def _count_resources(self, m: Module, last_oldest: Signal, last_scheduled: Signal) -> Value:
        """Counts loads and ofm banks; returns whether the oldest group has its restored rows."""
        layer = self.layer
        group_bits = ceil_log2(self._config.group)
        records_ready = Signal(range(RECORD_SLOTS + 1))
        residuals_ready = Signal(range(3))
        halo_ready = Signal(range(3))
        open_groups = Signal(range(3))
        restores = Signal()
        # A slice of the next layer may be loaded before that layer starts, so this is not reset.
        slices_ready = Signal(range(MOST_SLOTS + 1))
        sliced = Signal()
        scheduled_of_slice = Countdown(layer.slice_channels)
        oldest_of_slice = Countdown(layer.slice_channels)
        slice_scheduled = self.pattern_ends & (scheduled_of_slice.last | last_scheduled) & sliced
        group_scheduled = self.pattern_ends & (self.scheduled[:group_bits].all() | last_scheduled)
        drained = delayed(m, self.bank_drained, 1)
        m.d.comb += [
            self.loads_missing.eq(
                (records_ready == 0)
                | (layer.residual & (residuals_ready == 0))
                | (sliced & (slices_ready == 0))
            ),
            self.banks_taken.eq(open_groups == 2),
            self.group_retired.eq(self.retired & (self.oldest[:group_bits].all() | last_oldest)),
            self.slice_retired.eq(self.retired & (oldest_of_slice.last | last_oldest) & sliced),
        ]
        m.d.sync += [
            restores.eq(layer.restored != 0),
            sliced.eq(layer.slice_step != 0),
            # Where the I_s pass through the oldest channel has ended, its slice is there. In a
            # strip without I_s of its own, survivors may be known before. Which channel is the
            # oldest changes when one retires; the flag is a cycle late for the next.
            self.slice_missing.eq(
                sliced & (((self._ahead == 0) & (slices_ready == 0)) | self.retired)
            ),
            slices_ready.eq(slices_ready + self.slice_loaded - slice_scheduled),
            records_ready.eq(records_ready + self.record_loaded - self.pattern_ends),
            residuals_ready.eq(residuals_ready + self.residual_loaded - group_scheduled),
            halo_ready.eq(halo_ready + self.rows_restored - self.group_retired),
            open_groups.eq(open_groups + (group_scheduled & ~last_scheduled) - drained),
        ]
        with m.If(self.pattern_ends):
            m.d.sync += scheduled_of_slice.advance()
        with m.If(self.retired):
            m.d.sync += oldest_of_slice.advance()
        with m.If(self.start):
            m.d.sync += [*scheduled_of_slice.begin(), *oldest_of_slice.begin()]
            m.d.sync += [
                count.eq(0) for count in (records_ready, residuals_ready, halo_ready, open_groups)
            ]
        return ~restores | (halo_ready != 0)

    def _count_in_flight(self, m: Module) -> Value:
        """Counts each channel's tasks between issue and storage; returns the oldest channel's."""
        in_flight = [Signal(_IN_FLIGHT_BITS, name=f"in_flight_{parity}") for parity in range(2)]
        for parity, count in enumerate(in_flight):
            entered = self.issued & (self.issued_parity == parity)
            left = self.stored & (self.stored_parity == parity)
            # `issued` is known late in the cycle, so it selects between finished sums.
            m.d.sync += count.eq(Mux(entered, Mux(left, count, count + 1), count - left))
        return Mux(self.oldest[0], in_flight[1], in_flight[0])

    def _move_passes(self, m: Module, oldest_in_flight: Value, restored_in_place: Value) -> None:
        """Moves each pass on to its next channel."""
        layer = self.layer
        ahead = self._ahead
        m.d.comb += [
            self.full.eq(ahead == 2),
            self.all_scheduled.eq(self.scheduled == layer.channels),
            self.all_retired.eq(self.oldest == layer.channels),
        ]
        m.d.sync += [
            self.retired.eq(
                self.running
                & (ahead != 0)
                & (self.survivors_done | ~self.zap)
                & (oldest_in_flight == 0)
                & restored_in_place
                & ~self.retired
            ),
            ahead.eq(ahead + self.pattern_ends - self.retired),
        ]
        with m.If(self.pattern_ends):
            m.d.sync += [
                self.scheduled.eq(self.scheduled + 1),
                self.scheduled_weights.eq(self.scheduled_weights + layer.kernel_words),
            ]
        with m.If(self.survivors_end):
            m.d.sync += self.survivors_done.eq(1)
        with m.If(self.retired):
            m.d.sync += [
                self.oldest.eq(self.oldest + 1),
                self.oldest_weights.eq(self.oldest_weights + layer.kernel_words),
                self.survivors_done.eq(0),
            ]
        with m.If(self.start):
            m.d.sync += [
                state.eq(0)
                for state in (
                    self.oldest,
                    self.scheduled,
                    self.oldest_weights,
                    self.scheduled_weights,
                    self.survivors_done,
                    ahead,
                )
            ]
