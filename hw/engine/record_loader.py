"""Record loader: keeps the channels' parameters and weights ahead of the array.

The record stream holds, for each output channel in order, `record_words` words with its
`ChannelRecord` and `kernel_words` words of weights. Parameters go to a ring of four channels,
weights to the weight buffer, which is used as a ring of words.
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
    """Loads as long as there is room; a retired channel makes room.

    Members
    -------
    layer : In(LayerDescriptor)
    start : In(1)
        Begin a layer; everything of the layer before must be retired.
    words : In(stream of V bytes)
        The record stream.
    writes : Out(stream of WordWrite), always ready
        To the weight buffer; channel z's weights begin at z * kernel_words, modulo its size.
    loaded : Out(1)
        One more channel is complete, parameters and weights.
    retired : In(1)
        The oldest channel is no longer needed.
    slot, predictor_slot : In(range(RECORD_SLOTS))
        Two lookups by the low bits of a channel's number.
    record : Out(RequantiserRecord)
        In the same cycle.
    predictor_record : Out(PredictorRecord)
        A cycle later: it is wide, and lies in block RAM.
    """

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

    def elaborate(self, platform):
        m = Module()
        config = self._config
        layer = self.layer
        headers = record_words(config)

        ring = memory.Memory(shape=RequantiserRecord(), depth=RECORD_SLOTS, init=[])
        m.submodules.ring = ring
        read = ring.read_port(domain="comb")
        m.d.comb += [read.addr.eq(self.slot), self.record.eq(read.data)]
        stores = {"requantiser": ring.write_port()}
        if config.predictor:
            predictors = memory.Memory(
                shape=PredictorRecord(),
                depth=RECORD_SLOTS,
                init=[],
                attrs={"ram_style": "block"},
            )
            m.submodules.predictors = predictors
            read = predictors.read_port()
            m.d.comb += [read.addr.eq(self.predictor_slot), self.predictor_record.eq(read.data)]
            stores["predictor"] = predictors.write_port()

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
        for name, store in stores.items():
            m.d.comb += [
                store.addr.eq(load_slot),
                store.data.eq(header[name]),
                store.en.eq(stored),
            ]
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
