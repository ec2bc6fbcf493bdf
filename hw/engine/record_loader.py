"""Record loader: keeps the channels' parameters and weights ahead of the array.

The record stream holds, for each output channel in order, `record_words` words with its
`ChannelRecord`, and then `kernel_words` words of weights. The parameters go to a ring of
`RECORD_SLOTS` channels, and the weights to the weight buffer, which is a ring of words.
"""

from itertools import pairwise

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.contract.config import Config
from hw.contract.records import record_words
from hw.engine.buffers import WordWrite
from hw.layouts.descriptor import (
    ChannelRecord,
    LayerDescriptor,
    PredictorRecord,
    RequantiserRecord,
)

__all__ = ["RECORD_SLOTS", "RecordLoader"]

RECORD_SLOTS = 4
"""Channels whose parameters are on chip at a time: two in work, two loaded ahead."""


class RecordLoader(wiring.Component):
    """Loads while there is room; a channel that retires makes room.

    Members
    -------
    layer : In(LayerDescriptor)
    start : In(1)
        Begin a layer; every channel of the layer before must have retired.
    words : In(stream of V bytes)
        The record stream.
    writes : Out(stream of WordWrite), always ready
        To the weight buffer. Channel z's weights begin at z * kernel_words, modulo its size.
    loaded : Out(1)
        One more channel's parameters and weights are complete.
    retired : In(1)
        The oldest channel is no longer needed.
    slot, predictor_slot : In(range(RECORD_SLOTS))
        Low bits of the numbers of the channels whose records are to be looked up.
    record : Out(RequantiserRecord)
        That of `slot`, in the same cycle.
    predictor_record : Out(PredictorRecord)
        That of `predictor_slot`, a cycle later: it is wide, so it lies in block RAM.
    """

    layer: data.View
    start: Signal
    words: stream.Interface
    writes: stream.Interface
    loaded: Signal
    retired: Signal
    slot: Signal
    record: data.View
    predictor_slot: Signal
    predictor_record: data.View

    def __init__(self, config: Config) -> None:
        self._config = config
        word = 8 * config.lanes
        write = WordWrite(ceil_log2(config.weight_words), word)
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "start": In(1),
                "words": In(stream.Signature(unsigned(word))),
                "writes": Out(stream.Signature(write, always_ready=True)),
                "loaded": Out(1),
                "retired": In(1),
                "slot": In(range(RECORD_SLOTS)),
                "record": Out(RequantiserRecord()),
                "predictor_slot": In(range(RECORD_SLOTS)),
                "predictor_record": Out(PredictorRecord()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        layer = self.layer
        headers = record_words(config)

        channels_left = Signal(bits_for(config.most_channels))
        held = Signal(range(RECORD_SLOTS + 1))
        used = Signal(bits_for(config.weight_words))
        words_left = Signal(bits_for(config.weight_words))
        address = Signal(ceil_log2(config.weight_words))
        load_slot = Signal(range(RECORD_SLOTS))
        header_left = Signal(range(headers + 1))
        earlier = [
            Signal.like(self.words.payload, name=f"earlier_{n}", reset_less=True)
            for n in range(headers - 1)
        ]
        header = data.View(
            ChannelRecord(), Cat(*earlier, self.words.payload)[: ChannelRecord().size]
        )
        taken = self.words.valid & self.words.ready
        begins = Signal()
        stored = Signal()
        self._store_record(m, load_slot, header, stored)
        m.d.comb += [
            self.writes.payload.word.eq(self.words.payload),
            self.writes.payload.address.eq(address),
        ]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        channels_left.eq(layer.channels),
                        load_slot.eq(0),
                        address.eq(0),
                        used.eq(0),
                        held.eq(0),
                    ]
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(channels_left == 0):
                    m.next = "IDLE"
                with m.Elif(held != RECORD_SLOTS):
                    m.d.comb += begins.eq(1)
                    m.d.sync += header_left.eq(headers)
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += self.words.ready.eq(1)
                with m.If(taken):
                    m.d.sync += header_left.eq(header_left - 1)
                    for word, following in pairwise([*earlier, self.words.payload]):
                        m.d.sync += word.eq(following)
                    with m.If(header_left == 1):
                        m.d.comb += stored.eq(1)
                        m.d.sync += words_left.eq(layer.kernel_words)
                        m.next = "WEIGHTS"
            with m.State("WEIGHTS"):
                m.d.comb += [
                    self.words.ready.eq(used != config.weight_words),
                    self.writes.valid.eq(taken),
                ]
                with m.If(taken):
                    m.d.sync += [address.eq(address + 1), words_left.eq(words_left - 1)]
                    with m.If(words_left == 1):
                        m.d.comb += self.loaded.eq(1)
                        m.d.sync += [
                            load_slot.eq(load_slot + 1),
                            channels_left.eq(channels_left - 1),
                        ]
                        m.next = "WAIT"
        with m.If(~self.start):
            freed = self.retired.replicate(len(layer.kernel_words)) & layer.kernel_words
            m.d.sync += [
                used.eq(used + self.writes.valid - freed),
                held.eq(held + begins - self.retired),
            ]
        return m

    def _store_record(self, m: Module, slot: Signal, header: data.View, stored: Signal) -> None:
        """Adds the rings of records; writes `header` into `slot` where `stored` is high."""
        ring: memory.Memory = memory.Memory(shape=RequantiserRecord(), depth=RECORD_SLOTS, init=[])
        m.submodules.ring = ring
        read = ring.read_port(domain="comb")
        m.d.comb += [read.addr.eq(self.slot), self.record.eq(read.data)]
        stores = {"requantiser": ring.write_port()}
        if self._config.predictor:
            predictors: memory.Memory = memory.Memory(
                shape=PredictorRecord(),
                depth=RECORD_SLOTS,
                init=[],
                attrs={"ram_style": "block"},
            )
            m.submodules.predictors = predictors
            read = predictors.read_port()
            m.d.comb += [read.addr.eq(self.predictor_slot), self.predictor_record.eq(read.data)]
            stores["predictor"] = predictors.write_port()
        for name, store in stores.items():
            m.d.comb += [
                store.addr.eq(slot),
                store.data.eq(header[name]),
                store.en.eq(stored),
            ]
