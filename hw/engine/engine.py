"""The layer engine: one convolution, or a strip of it, from its ifm buffer to its ofm stream.

    records -> loader -> weight ring ---------------+
                 |                                  v
    scheduler (I_s) -> compactor --+--> choice -> MAC array -> requantiser -+-> ofm banks -> words
    survivors (I_t) -> compactor --+                ^               ^       |
          ^                                    ifm buffer   residual banks  v (I_s only)
          |                                                                 |
          +------------------------------------------- predictor <- values -+

Channels are computed one after another, each in two passes: the pixels of `I_s`, and the survivors
among those of `I_t`. The array takes survivors as soon as the predictor has found P of them, and
`I_s` pixels otherwise. Where a channel has nothing ready, the array goes on with the `I_s` of the
next channel, so that it does not wait for the predictor, which lags two rows behind, while there is
other work. `hw.engine.channel_window` says which channels are in work, and when one is done with;
its weights are then overwritten.
"""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.contract.timing import VALUE_QUEUE
from hw.engine.buffers import IfmBuffer, MaskedWrite, WeightBuffer
from hw.engine.channel_window import ChannelWindow
from hw.engine.compactor import Compactor
from hw.engine.event_counters import EventCounters
from hw.engine.mac_array import MacArray
from hw.engine.ofm_banks import OfmBanks
from hw.engine.pattern_scheduler import PatternScheduler
from hw.engine.predictor_feed import PredictorFeed
from hw.engine.record_loader import RecordLoader
from hw.engine.requantiser import Requantiser
from hw.engine.residual_banks import ResidualBanks
from hw.engine.task_choice import TaskChoice
from hw.layouts.descriptor import CounterBlock, LayerDescriptor
from hw.lib.structs import struct_signal
from hw.predictor.predictor import Predictor

__all__ = ["LayerEngine"]


class LayerEngine(wiring.Component):
    """Runs one layer at a time.

    Members
    -------
    descriptor : In(LayerDescriptor)
        Taken at `start`.
    start : In(1)
        Ignored while `busy`.
    working : Out(1)
        High from the start until the last ofm word has left.
    busy : Out(1)
        High from the cycle after the start until the ofm banks are clear again, and for `ofm_words`
        cycles after reset.
    ifm : In(stream of MaskedWrite)
        Fills the ifm buffer; while the engine works, in the gaps that the array leaves
        (`hw.engine.buffers`).
    slice_loaded : In(1)
        One more slice of the ifm is in its buffer, of this layer or of the next one, where the ifm
        comes in slices. Otherwise all of it is there before the start.
    slice_retired : Out(1)
        The oldest slice is no longer needed.
    records : In(stream of V bytes)
        See `hw.engine.record_loader`.
    residuals : In(stream of G bytes)
        See `hw.engine.residual_banks`.
    halo : In(stream of G bytes)
        See `hw.engine.halo_rows`.
    ofm : Out(stream of G bytes)
        For each group of G channels the strip's own pixels in raster order, pooled where the layer
        is, and then the spilled ones. Lanes of channels past the last are zero.
    counters : Out(CounterBlock)
        Those of the layer in work, or of the last one. An event is counted in the cycle after it.
    """

    descriptor: data.View
    start: Signal
    working: Signal
    busy: Signal
    ifm: stream.Interface
    slice_loaded: Signal
    slice_retired: Signal
    records: stream.Interface
    residuals: stream.Interface
    halo: stream.Interface
    ofm: stream.Interface
    counters: data.View

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
                "slice_loaded": In(1),
                "slice_retired": Out(1),
                "records": In(stream.Signature(unsigned(word))),
                "residuals": In(stream.Signature(unsigned(8 * config.group))),
                "halo": In(stream.Signature(unsigned(8 * config.group))),
                "ofm": Out(stream.Signature(unsigned(8 * config.group))),
                "counters": Out(CounterBlock()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.loader = loader = RecordLoader(config)
        m.submodules.scheduler = scheduler = PatternScheduler(config)
        m.submodules.pattern_compactor = pattern = Compactor(config)
        m.submodules.survivor_compactor = survivors = Compactor(config)
        m.submodules.choice = choice = TaskChoice(config)
        m.submodules.window = window = ChannelWindow(config)
        m.submodules.array = array = MacArray(config)
        m.submodules.requantiser = requantiser = Requantiser(config)
        m.submodules.residuals = residuals = ResidualBanks(config)
        m.submodules.banks = banks = OfmBanks(config)
        m.submodules.counters = counters = EventCounters(config)

        layer, started, running = self._run_layers(m, window, banks)
        zap = Signal()
        m.d.comb += [
            *(
                part.layer.eq(layer)
                for part in (loader, scheduler, window, array, residuals, banks)
            ),
            *(
                part.start.eq(started)
                for part in (loader, scheduler, window, residuals, banks, counters)
            ),
            *(part.running.eq(running) for part in (window, counters)),
        ]

        connect(m, flipped(self.records), loader.words)
        connect(m, flipped(self.residuals), residuals.words)
        connect(m, flipped(self.halo), banks.halo)
        connect(m, scheduler.items, pattern.items)
        connect(m, pattern.vectors, choice.pattern)
        connect(m, survivors.vectors, choice.survivors)
        connect(m, choice.tasks, array.tasks)
        connect(m, array.results, requantiser.results)
        connect(m, banks.words, flipped(self.ofm))
        m.d.comb += [
            requantiser.signed_output.eq(layer.ofm_signed),
            self.counters.eq(counters.counters),
        ]
        self._connect_buffers(m, array, loader)
        self._connect_results(m, array, loader, residuals, requantiser, banks)
        self._connect_window(m, window, choice, loader, residuals, requantiser, banks)
        m.d.comb += window.zap.eq(zap)
        if config.predictor:
            m.submodules.predictor = predictor = Predictor(config)
            m.submodules.feed = feed = PredictorFeed(config, places=VALUE_QUEUE)
            connect(m, feed.records, predictor.records)
            connect(m, feed.values, predictor.values)
            connect(m, banks.recalled, predictor.recalled)
            connect(m, predictor.survivors, survivors.items)
            activation = requantiser.activations.payload
            m.d.comb += [
                zap.eq(layer.zap),
                predictor.layer.eq(layer),
                predictor.start.eq(started),
                feed.start.eq(started),
                feed.running.eq(running),
                feed.zap.eq(zap),
                feed.reserved.eq(choice.pattern_pixels),
                feed.write.eq(requantiser.activations.valid & zap & ~activation.tag.survivor),
                feed.value.eq(activation.value),
                feed.record_loaded.eq(loader.loaded),
                loader.predictor_slot.eq(feed.slot),
                feed.record.eq(loader.predictor_record),
                choice.values_blocked.eq(feed.blocked),
                counters.events.kept.eq(predictor.kept),
                counters.events.skipped.eq(predictor.skipped),
            ]
        self._connect_counters(m, counters, window, choice, array, zap)
        return m

    def _run_layers(
        self, m: Module, window: ChannelWindow, banks: OfmBanks
    ) -> tuple[data.View, Signal, Signal]:
        """Starts and ends layers.

        Returns the layer's descriptor, a flag for its first cycle, and one from the cycle after
        until it is done.
        """
        layer = struct_signal(LayerDescriptor(self._config), name="layer", reset_less=True)
        start = Signal()
        started = Signal()
        running = Signal()
        done = Signal()
        free = Signal()
        m.d.comb += [
            self.working.eq(running | started),
            self.busy.eq(~free),
            start.eq(self.start & free),
            done.eq(running & window.all_retired & banks.idle),
        ]
        m.d.sync += [started.eq(start), free.eq(banks.ready & ~self.working & ~start)]
        # In every free cycle, not at the start alone: that would be a late enable for many bits.
        with m.If(free):
            m.d.sync += layer.eq(self.descriptor)
        with m.If(started):
            m.d.sync += running.eq(1)
        with m.If(done):
            m.d.sync += running.eq(0)
        return layer, started, running

    def _connect_buffers(self, m: Module, array: MacArray, loader: RecordLoader) -> None:
        """Adds the buffers that the array reads."""
        m.submodules.ifm_buffer = ifm_buffer = IfmBuffer(self._config)
        m.submodules.weight_buffer = weight_buffer = WeightBuffer(self._config)
        connect(m, flipped(self.ifm), ifm_buffer.writes)
        connect(m, loader.writes, weight_buffer.writes)
        m.d.comb += [
            ifm_buffer.reading.eq(array.busy),
            weight_buffer.address.eq(array.weight_address),
            array.weight_data.eq(weight_buffer.word),
        ]
        for place in range(self._config.pes):
            m.d.comb += [
                ifm_buffer.address[place].eq(array.ifm_address[place]),
                array.ifm_data[place].eq(ifm_buffer.word[place]),
            ]

    def _connect_results(
        self,
        m: Module,
        array: MacArray,
        loader: RecordLoader,
        residuals: ResidualBanks,
        requantiser: Requantiser,
        banks: OfmBanks,
    ) -> None:
        """Brings together result, record and residual, and stores the activation."""
        lane_bits = ceil_log2(self._config.group)
        result, activation = array.results.payload, requantiser.activations.payload
        m.d.comb += [
            loader.slot.eq(result.tag.channel),
            residuals.bank.eq(result.tag.channel[lane_bits]),
            residuals.lane.eq(result.tag.channel[:lane_bits]),
            residuals.index.eq(result.index),
            requantiser.record.eq(loader.record),
            requantiser.residual.eq(residuals.value),
            banks.write.eq(requantiser.activations.valid),
            banks.write_bank.eq(activation.tag.channel[lane_bits]),
            banks.write_lane.eq(activation.tag.channel[:lane_bits]),
            banks.write_index.eq(activation.index),
            banks.value.eq(activation.value),
        ]

    def _connect_window(
        self,
        m: Module,
        window: ChannelWindow,
        choice: TaskChoice,
        loader: RecordLoader,
        residuals: ResidualBanks,
        requantiser: Requantiser,
        banks: OfmBanks,
    ) -> None:
        """Tells the channel window what happens, and the others what follows from it."""
        activation = requantiser.activations.payload
        m.d.comb += [
            window.pattern_ends.eq(choice.pattern_ends),
            window.survivors_end.eq(choice.survivors_end),
            window.issued.eq(choice.issued),
            window.issued_parity.eq(choice.tasks.payload.tag.channel[0]),
            window.stored.eq(requantiser.activations.valid & activation.last),
            window.stored_parity.eq(activation.tag.channel[0]),
            window.record_loaded.eq(loader.loaded),
            window.residual_loaded.eq(residuals.loaded),
            window.slice_loaded.eq(self.slice_loaded),
            self.slice_retired.eq(window.slice_retired),
            window.rows_restored.eq(banks.restored),
            window.bank_drained.eq(banks.drained),
            choice.oldest.eq(window.oldest),
            choice.scheduled.eq(window.scheduled),
            choice.oldest_weights.eq(window.oldest_weights),
            choice.scheduled_weights.eq(window.scheduled_weights),
            choice.survivors_done.eq(window.survivors_done),
            choice.survivors_blocked.eq(window.slice_missing),
            choice.blocked.eq(window.full | window.loads_missing | window.banks_taken),
            loader.retired.eq(window.retired),
            residuals.freed.eq(window.group_retired),
            banks.drain.eq(window.group_retired),
        ]

    def _connect_counters(
        self,
        m: Module,
        counters: EventCounters,
        window: ChannelWindow,
        choice: TaskChoice,
        array: MacArray,
        zap: Signal,
    ) -> None:
        """Says why the array rests, where it does, and counts that."""
        events = counters.events
        rests = ~array.busy & ~choice.tasks.payload.tag.survivor
        may_schedule = rests & choice.pattern_waits & ~window.full
        only_survivors = window.all_scheduled | (
            choice.pattern_waits & (window.full | choice.values_blocked)
        )
        m.d.comb += [
            events.cycles.eq(1),
            events.busy.eq(array.busy),
            events.computed.eq(choice.pattern_pixels),
            events.wait_loads.eq(may_schedule & window.loads_missing),
            events.wait_ofm.eq(may_schedule & ~window.loads_missing & window.banks_taken),
            events.wait_predictor.eq(
                rests & zap & only_survivors & ~window.survivors_done & ~window.all_retired
            ),
        ]
