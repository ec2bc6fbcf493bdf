"""Predictor feed: the queue of activations in front of the predictor, and its records."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import Config
from hw.engine.record_loader import RECORD_SLOTS
from hw.layouts.descriptor import PredictorRecord
from hw.lib.pipeline import delayed
from hw.lib.queue import memory_queue

__all__ = ["PredictorFeed"]


class PredictorFeed(wiring.Component):
    """Hands the predictor each channel's record and activations.

    Room in the queue is reserved when a task is issued, because the array and the requantiser
    cannot wait once they have a task.

    Parameters
    ----------
    places : int, power of two
        Activations that the queue's memory holds.

    Members
    -------
    start : In(1)
        A layer begins.
    running : In(1)
        A layer is in work.
    zap : In(1)
        The layer has a ZAP; without, nothing is handed on.
    reserved : In(range(P + 1))
        Pixels of the `I_s` pass that are issued to the array in this cycle.
    write : In(1), value : In(8)
        An activation of the `I_s` pass.
    record_loaded : In(1)
        One more channel's record is on chip.
    slot : Out(range(RECORD_SLOTS))
        Slot of the record to be scored next.
    record : In(PredictorRecord)
        That of `slot` a cycle before.
    records : Out(stream of PredictorRecord)
    values : Out(stream of u8)
    blocked : Out(1)
        There may be no room for the activations of another task.
    """

    start: Signal
    running: Signal
    zap: Signal
    reserved: Signal
    write: Signal
    value: Signal
    record_loaded: Signal
    slot: Signal
    record: data.View
    records: stream.Interface
    values: stream.Interface
    blocked: Signal

    def __init__(self, config: Config, *, places: int) -> None:
        self._config = config
        self._places = places
        super().__init__(
            {
                "start": In(1),
                "running": In(1),
                "zap": In(1),
                "reserved": In(range(config.pes + 1)),
                "write": In(1),
                "value": In(8),
                "record_loaded": In(1),
                "slot": Out(range(RECORD_SLOTS)),
                "record": In(PredictorRecord()),
                "records": Out(stream.Signature(PredictorRecord())),
                "values": Out(stream.Signature(unsigned(8))),
                "blocked": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = memory_queue(width=8, words=self._places)
        m.d.comb += [
            queue.w_data.eq(self.value),
            queue.w_en.eq(self.write),
            self.values.payload.eq(queue.r_data),
            self.values.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.values.ready),
        ]
        room = Signal(range(self._places + 1), init=self._places)
        taken = self.values.valid & self.values.ready
        reserved = delayed(m, Mux(self.zap, self.reserved, 0), 1)
        m.d.sync += [
            room.eq(room + delayed(m, taken, 1) - reserved),
            # The tasks issued in the last two cycles are not counted yet.
            self.blocked.eq(self.zap & (room < 3 * self._config.pes)),
        ]

        unscored = Signal(range(RECORD_SLOTS + 1))
        record_taken = self.records.valid & self.records.ready
        m.d.comb += [
            self.records.payload.eq(self.record),
            self.records.valid.eq(self.running & self.zap & (unscored != 0)),
        ]
        m.d.sync += [
            unscored.eq(unscored + self.record_loaded - record_taken),
            self.slot.eq(self.slot + record_taken),
        ]
        with m.If(self.start):
            m.d.sync += [unscored.eq(0), self.slot.eq(0)]
        return m
