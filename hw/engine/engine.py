"""The layer engine: one convolution, or a strip of it, from its ifm buffer to its ofm stream.

    records -> loader -> weight ring -----------+
                 |                              v
    scheduler (I_s) -> grouper --+--> choice -> MAC array -> requantiser -+-> ofm banks -> words
    survivors (I_t) -> grouper --+      ^                                 |
          ^                             ifm buffer       ^                v (I_s only)
          |                                   residual banks              |
          +------------------------------------------------ predictor <- values

Channels are computed one after another. Within a channel the array takes survivors as soon as the
predictor has found P of them, and `I_s` pixels otherwise; where a channel has nothing ready it goes
on with the `I_s` of the next, so that the predictor's lag of two rows is never waited for while
there is other work. At most two channels are in work at a time. A channel is retired when both its
passes have been issued and all its results are stored; its weights are then overwritten.
"""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for, ceil_log2

from hw.contract.config import Config
from hw.engine.buffers import IfmBuffer, MaskedWrite, WeightBuffer
from hw.engine.compactor import Compactor
from hw.engine.mac_array import MacArray
from hw.engine.ofm_banks import OfmBanks
from hw.engine.pattern_scheduler import PatternScheduler
from hw.engine.record_loader import RECORD_SLOTS, RecordLoader
from hw.engine.requantiser import Requantiser
from hw.engine.residual_banks import ResidualBanks
from hw.layouts.descriptor import COUNTERS, CounterBlock, LayerDescriptor
from hw.layouts.pixels import PixelVector
from hw.lib.pipeline import delayed
from hw.lib.queue import memory_queue
from hw.predictor.predictor import Predictor

__all__ = ["VALUES", "LayerEngine"]

VALUES = 512
"""Activations that may wait before the predictor while it ends the channel before and goes through
the rows restored to theirs."""


class LayerEngine(wiring.Component):
    """Runs one layer at a time.

    Members
    -------
    descriptor : In(LayerDescriptor)
        Taken at `start`.
    start : In(1)
        Ignored while `busy`.
    working : Out(1)
        From start until the last ofm word has left.
    busy : Out(1)
        From the cycle after start, and until the ofm banks are clear again; for `ofm_words` cycles
        after reset.
    ifm : In(stream of MaskedWrite)
        Fills the ifm buffer; while working, in the gaps that the array leaves
        (`hw.engine.buffers`).
    records : In(stream of V bytes)
        See `hw.engine.record_loader`.
    residuals : In(stream of G bytes)
        See `hw.engine.residual_banks`.
    halo : In(stream of G bytes)
        See `hw.engine.halo_rows`.
    ofm : Out(stream of G bytes)
        For each group of G channels the strip's own pixels in raster order, pooled where they are,
        and the spilled ones; channels past the last are zero.
    counters : Out(CounterBlock)
        Of the layer in work, or the last one; what happens in a cycle is counted in the next.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        word = 8 * config.lanes
        super().__init__(
            {
                "descriptor": In(LayerDescriptor(config)),
                "start": In(1),
                "working": Out(1),
                "busy": Out(1),
                "ifm": In(stream.Signature(MaskedWrite(config))),
                "records": In(stream.Signature(unsigned(word))),
                "residuals": In(stream.Signature(unsigned(8 * config.group))),
                "halo": In(stream.Signature(unsigned(8 * config.group))),
                "ofm": Out(stream.Signature(unsigned(8 * config.group))),
                "counters": Out(CounterBlock()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.loader = loader = RecordLoader(config)
        m.submodules.ifm_buffer = ifm_buffer = IfmBuffer(config)
        m.submodules.weight_buffer = weight_buffer = WeightBuffer(config)
        m.submodules.scheduler = scheduler = PatternScheduler(config)
        m.submodules.pattern_compactor = pattern_compactor = Compactor(config)
        m.submodules.survivor_compactor = survivor_compactor = Compactor(config)
        m.submodules.array = array = MacArray(config)
        m.submodules.requantiser = requantiser = Requantiser(config)
        m.submodules.banks = banks = OfmBanks(config)
        m.submodules.residuals = residuals = ResidualBanks(config)

        # Life of a layer.
        layer = Signal(LayerDescriptor(config), reset_less=True)
        running = Signal()
        start = Signal()
        started = Signal()
        done = Signal()
        free = Signal()
        m.d.comb += [
            self.working.eq(running | started),
            self.busy.eq(~free),
            start.eq(self.start & free),
        ]
        m.d.sync += [started.eq(start), free.eq(banks.ready & ~self.working & ~start)]
        # Until it starts: what enables a whole descriptor has far to go.
        with m.If(free):
            m.d.sync += layer.eq(self.descriptor)
        with m.If(started):
            m.d.sync += running.eq(1)
        with m.If(done):
            m.d.sync += running.eq(0)

        # Wires that carry no decision.
        group_bits = ceil_log2(config.group)
        for component in (loader, scheduler, array, banks, residuals):
            m.d.comb += component.layer.eq(layer)
        m.d.comb += [
            loader.start.eq(started),
            residuals.start.eq(started),
            scheduler.start.eq(started),
            requantiser.signed_output.eq(layer.ofm_signed),
            banks.start.eq(started),
            ifm_buffer.reading.eq(array.busy),
            weight_buffer.address.eq(array.weight_address),
            array.weight_data.eq(weight_buffer.word),
            requantiser.results.valid.eq(array.results.valid),
            requantiser.results.payload.eq(array.results.payload),
            array.results.ready.eq(1),
            loader.slot.eq(array.results.payload.tag.channel),
            requantiser.record.eq(loader.record),
            requantiser.residual.eq(residuals.value),
            residuals.bank.eq(array.results.payload.tag.channel[group_bits]),
            residuals.lane.eq(array.results.payload.tag.channel[:group_bits]),
            residuals.index.eq(array.results.payload.index),
        ]
        for place in range(config.pes):
            m.d.comb += [
                ifm_buffer.address[place].eq(array.ifm_address[place]),
                array.ifm_data[place].eq(ifm_buffer.word[place]),
            ]
        connect(m, flipped(self.ifm), ifm_buffer.writes)
        connect(m, flipped(self.records), loader.words)
        connect(m, flipped(self.residuals), residuals.words)
        connect(m, flipped(self.halo), banks.halo)
        connect(m, loader.writes, weight_buffer.writes)
        connect(m, scheduler.items, pattern_compactor.items)
        connect(m, banks.words, flipped(self.ofm))

        # Which channel each pass is at. `ahead` is 1 while the I_s pass is a channel further.
        tag_bits = len(array.tasks.payload.tag.channel)
        channels = bits_for(config.most_channels)
        oldest = Signal(channels)
        scheduled = Signal(channels)
        ahead = Signal(range(3))
        survivors_done = Signal()
        oldest_weights = Signal(ceil_log2(config.weight_words))
        scheduled_weights = Signal(ceil_log2(config.weight_words))
        records_ready = Signal(range(RECORD_SLOTS + 1))
        residuals_ready = Signal(range(3))
        halo_ready = Signal(range(3))
        open_groups = Signal(range(3))
        in_flight = [Signal(8, name=f"in_flight_{parity}") for parity in range(2)]
        room = Signal(range(VALUES + 1), init=VALUES)
        zap = Signal()

        # The choice: survivors first. Groups without pixels only tell that a channel has ended.
        survivor = survivor_compactor.vectors
        pattern = pattern_compactor.vectors
        blocked_loads = Signal()
        blocked_ofm = Signal()
        blocked_values = Signal()
        blocked_window = Signal()
        pattern_ends = Signal()
        admitted = Signal()
        survivor_offer = Signal()
        pattern_offer = Signal()
        pattern_pixels = pattern.valid & pattern.payload.mask[0]
        m.d.comb += [
            blocked_window.eq(ahead == 2),
            blocked_loads.eq((records_ready == 0) | (layer.residual & (residuals_ready == 0))),
            blocked_ofm.eq(open_groups == 2),
            survivor_offer.eq(survivor.valid & survivor.payload.mask[0] & ~survivors_done),
            pattern_offer.eq(pattern_pixels & admitted & ~blocked_values),
            array.tasks.valid.eq(survivor_offer | pattern_offer),
        ]
        # Registers, as much hangs on the choice: what admits a channel is seen a cycle late, and in
        # the cycle after an end of pass, which may block the next, there is no choosing.
        m.d.sync += admitted.eq(~(blocked_window | blocked_loads | blocked_ofm | pattern_ends))
        # What the last two cycles took of it is not counted yet.
        m.d.sync += blocked_values.eq(zap & (room < 3 * config.pes))
        chosen = Signal(PixelVector(config))
        channel = Signal(tag_bits)
        task = array.tasks.payload
        m.d.comb += [
            chosen.eq(Mux(survivor_offer, survivor.payload, pattern.payload)),
            channel.eq(Mux(survivor_offer, oldest, scheduled)),
            task.pixels.eq(chosen.pixels),
            task.mask.eq(chosen.mask),
            task.weight_base.eq(Mux(survivor_offer, oldest_weights, scheduled_weights)),
            task.tag.channel.eq(channel),
            task.tag.survivor.eq(survivor_offer),
        ]
        issue = array.tasks.valid & array.tasks.ready
        issue_pattern = issue & ~survivor_offer
        empty_pattern = pattern.valid & ~pattern.payload.mask[0] & admitted
        empty_survivor = survivor.valid & ~survivor.payload.mask[0] & ~survivors_done
        m.d.comb += [
            pattern.ready.eq(issue_pattern | empty_pattern),
            survivor.ready.eq((issue & survivor_offer) | empty_survivor),
        ]

        # Ends of passes, and of channels. None follows another of its kind at once, so what is the
        # last may come out of a register.
        survivors_end = Signal()
        retire = Signal()
        last_oldest, last_scheduled = Signal(), Signal()
        restores = Signal()
        oldest_in_flight = Mux(oldest[0], in_flight[1], in_flight[0])
        oldest_restored = ~restores | (halo_ready != 0)
        m.d.comb += [
            pattern_ends.eq(pattern.valid & pattern.ready & pattern.payload.end),
            survivors_end.eq(survivor.valid & survivor.ready & survivor.payload.end),
            loader.retired.eq(retire),
            banks.drain.eq(retire & (oldest[:group_bits].all() | last_oldest)),
            residuals.freed.eq(banks.drain),
        ]
        drained = delayed(m, banks.drained, 1)
        group_ends = pattern_ends & (scheduled[:group_bits].all() | last_scheduled)
        m.d.sync += [
            retire.eq(
                running
                & (ahead != 0)
                & (survivors_done | ~zap)
                & (oldest_in_flight == 0)
                & oldest_restored
                & ~retire
            ),
            last_oldest.eq(oldest + 1 == layer.channels),
            last_scheduled.eq(scheduled + 1 == layer.channels),
            restores.eq(layer.restored != 0),
            ahead.eq(ahead + pattern_ends - retire),
            records_ready.eq(records_ready + loader.loaded - pattern_ends),
            residuals_ready.eq(residuals_ready + residuals.loaded - group_ends),
            halo_ready.eq(halo_ready + banks.restored - banks.drain),
            open_groups.eq(open_groups + (group_ends & ~last_scheduled) - drained),
        ]
        with m.If(pattern_ends):
            m.d.sync += [
                scheduled.eq(scheduled + 1),
                scheduled_weights.eq(scheduled_weights + layer.kernel_words),
            ]
        with m.If(survivors_end):
            m.d.sync += survivors_done.eq(1)
        with m.If(retire):
            m.d.sync += [
                oldest.eq(oldest + 1),
                oldest_weights.eq(oldest_weights + layer.kernel_words),
                survivors_done.eq(0),
            ]
        stored = requantiser.activations.valid & requantiser.activations.payload.last
        for parity, count in enumerate(in_flight):
            entered = issue & (channel[0] == parity)
            left = stored & (requantiser.activations.payload.tag.channel[0] == parity)
            # What is issued is known last.
            m.d.sync += count.eq(Mux(entered, Mux(left, count, count + 1), count - left))

        # Results: every one to its bank, those of I_s to the predictor as well.
        activation = requantiser.activations.payload
        m.d.comb += [
            banks.write.eq(requantiser.activations.valid),
            banks.write_bank.eq(activation.tag.channel[group_bits]),
            banks.write_lane.eq(activation.tag.channel[:group_bits]),
            banks.write_index.eq(activation.index),
            banks.value.eq(activation.value),
        ]
        value_taken = Signal()
        kept = Signal()
        skipped = Signal()
        if config.predictor:
            m.submodules.predictor = predictor = Predictor(config)
            m.submodules.values = values = memory_queue(width=8, words=VALUES)
            unscored = Signal(range(RECORD_SLOTS + 1))
            slot = Signal(range(RECORD_SLOTS))
            taken = predictor.records.valid & predictor.records.ready
            m.d.comb += [
                zap.eq(layer.zap),
                predictor.layer.eq(layer),
                values.w_data.eq(activation.value),
                values.w_en.eq(requantiser.activations.valid & zap & ~activation.tag.survivor),
                predictor.values.payload.eq(values.r_data),
                predictor.values.valid.eq(values.r_rdy),
                values.r_en.eq(predictor.values.ready),
                value_taken.eq(predictor.values.valid & predictor.values.ready),
                loader.predictor_slot.eq(slot),
                predictor.records.payload.eq(loader.predictor_record),
                predictor.records.valid.eq(running & zap & (unscored != 0)),
                kept.eq(predictor.kept),
                skipped.eq(predictor.skipped),
            ]
            connect(m, banks.recalled, predictor.recalled)
            connect(m, predictor.survivors, survivor_compactor.items)
            m.d.sync += [unscored.eq(unscored + loader.loaded - taken), slot.eq(slot + taken)]
            with m.If(started):
                m.d.sync += [unscored.eq(0), slot.eq(0)]
        pixels_issued = Mux(issue_pattern, sum(pattern.payload.mask), 0)
        m.d.sync += room.eq(
            room + delayed(m, value_taken, 1) - delayed(m, Mux(zap, pixels_issued, 0), 1)
        )

        m.d.comb += done.eq(running & (oldest == layer.channels) & banks.idle)
        with m.If(started):
            m.d.sync += [
                s.eq(0)
                for s in (
                    oldest,
                    scheduled,
                    ahead,
                    survivors_done,
                    oldest_weights,
                    scheduled_weights,
                    records_ready,
                    residuals_ready,
                    halo_ready,
                    open_groups,
                )
            ]

        # Counters.
        rests = ~array.busy & ~survivor_offer
        may_schedule = rests & pattern_pixels & ~blocked_window
        only_survivors = (scheduled == layer.channels) | (
            pattern_pixels & (blocked_window | blocked_values)
        )
        events = {
            "cycles": 1,
            "busy": array.busy,
            "wait_loads": may_schedule & blocked_loads,
            "wait_ofm": may_schedule & ~blocked_loads & blocked_ofm,
            "wait_predictor": rests
            & zap
            & only_survivors
            & ~survivors_done
            & (oldest != layer.channels),
            "computed": pixels_issued,
            "kept": kept,
            "skipped": skipped,
        }
        assert events.keys() == COUNTERS.keys()
        for name, event in events.items():
            counter = self.counters[name]
            m.d.sync += counter.eq(counter + delayed(m, Mux(running, event, 0), 1))
            with m.If(started):
                m.d.sync += counter.eq(0)
        return m
