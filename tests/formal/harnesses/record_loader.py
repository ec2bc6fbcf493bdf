"""The record loader fills its two rings in order, and overwrites nothing that is still needed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from amaranth import Cat, Mux, Signal
from amaranth.hdl import Value
from amaranth.utils import ceil_log2

from hw.contract.records import record_words
from hw.engine.record_loader import RECORD_SLOTS
from hw.layouts.descriptor import ChannelRecord, LayerDescriptor
from tests.formal.harness import Defect, Harness, elaborated, in_state, progress
from tests.hw.small_configs import TINY

__all__ = ["RecordLoaderHarness"]

_MODULE = "hw.engine.record_loader"
_CONFIG = replace(TINY, weight_words=16)
_HEADERS = record_words(_CONFIG)
_COUNTED = "words and channels are counted"
_ROOM = "the weights of unretired channels fit the ring, and follow each other in it"
_RECORD = "an unretired channel's record is the one that came with it"
_SOON = "a word is taken soon where there is room"


class RecordLoaderHarness(Harness):
    """Record loader, in one layer after another."""

    component = "RecordLoader"
    depth = 6
    sizes = (
        f"{_CONFIG.weight_words} words of weights, {RECORD_SLOTS} channels on chip, "
        "any layers and words"
    )
    defects = (
        Defect(
            module=_MODULE,
            old="self.words.ready.eq(used != config.weight_words)",
            new="self.words.ready.eq(1)",
            breaks=_ROOM,
        ),
        Defect(
            module=_MODULE,
            old="with m.Elif(held != RECORD_SLOTS):",
            new="with m.Else():",
            breaks=_COUNTED,
        ),
        Defect(
            module=_MODULE,
            old="load_slot.eq(load_slot + 1)",
            new="load_slot.eq(load_slot)",
            breaks=_RECORD,
        ),
        Defect(
            module=_MODULE,
            old="with m.Elif(held != RECORD_SLOTS):",
            new="with m.Elif(held == 0):",
            breaks=_SOON,
        ),
        Defect(
            module=_MODULE,
            old="used.eq(used + self.writes.valid - freed)",
            new="used.eq(used + self.writes.valid)",
            breaks=_ROOM,
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_MODULE)
        signals = self.named_signals(module)
        dut = module.RecordLoader(_CONFIG)
        m.submodules.dut = dut
        inner = elaborated(dut)
        start = self.drive(dut.start, "start")
        valid = self.drive(dut.words.valid, "words_valid")
        word = self.drive(dut.words.payload, "words_payload")
        retired = self.drive(dut.retired, "retired")
        taken = valid & dut.words.ready

        # Layers of any number of channels, each of any number of words that fit the ring.
        layer: Any = Signal(LayerDescriptor(_CONFIG), name="layer")
        kernel = Signal(range(_CONFIG.weight_words + 1), name="kernel", init=1)
        chosen = self.free(kernel.shape(), "kernel_chosen")
        channels = self.free(layer.channels.shape(), "channels_chosen")
        m.d.comb += [
            layer.kernel_words.eq(Mux(start, chosen, kernel)),
            layer.channels.eq(channels),
            dut.layer.eq(layer),
        ]
        self.assume(~start | ((chosen != 0) & (chosen <= _CONFIG.weight_words) & (channels != 0)))

        # Channels that have not begun, words of the one under way, and channels that wait.
        left = Signal(layer.channels.shape(), name="left")
        place = Signal(range(_HEADERS + _CONFIG.weight_words + 1), name="place")
        waiting = Signal(range(RECORD_SLOTS + 1), name="waiting")
        begun = place != 0
        wanted = begun | (left != 0)
        completes = taken & (place == _HEADERS + kernel - 1)
        m.d.sync += [
            place.eq(Mux(completes, 0, place + taken)),
            left.eq(left - (taken & ~begun)),
            waiting.eq(waiting + completes - retired),
        ]
        with m.If(start):
            m.d.sync += [left.eq(channels), place.eq(0), waiting.eq(0), kernel.eq(chosen)]
        # A layer starts when all channels of the one before have retired. Only a channel that is
        # loaded retires.
        self.assume(~start | (~wanted & (waiting == 0)))
        self.assume(~retired | (waiting != 0))

        idle, waits, header, weights = (
            in_state(inner, name) for name in ("IDLE", "WAIT", "HEADER", "WEIGHTS")
        )
        channels_left = signals["channels_left"]
        self.prove(
            _COUNTED,
            (~taken | (wanted & (waiting < RECORD_SLOTS)))
            & (dut.loaded == completes)
            & (dut.writes.valid == (taken & (place >= _HEADERS)))
            & (signals["held"] == waiting + (header | weights))
            & (signals["held"] <= RECORD_SLOTS)
            & ((kernel != 0) & (kernel <= _CONFIG.weight_words))
            & (~idle | ~wanted)
            & (~waits | (~begun & (channels_left == left) & (wanted | (waiting != 0))))
            & (~header | ((place < _HEADERS) & (channels_left == left + begun) & wanted))
            & (~header | (signals["header_left"] == _HEADERS - place))
            & (~weights | ((place >= _HEADERS) & (channels_left == left + 1)))
            & (~weights | (signals["words_left"] == _HEADERS + kernel - place))
            & (~weights | (place < _HEADERS + kernel)),
        )

        # The ring: where the oldest channel's weights begin, and those of the one under way.
        address_bits = ceil_log2(_CONFIG.weight_words)
        oldest, newest = Signal(address_bits, name="oldest"), Signal(address_bits, name="newest")
        with m.If(retired):
            m.d.sync += oldest.eq(oldest + kernel)
        with m.If(completes):
            m.d.sync += newest.eq(newest + kernel)
        with m.If(start):
            m.d.sync += [oldest.eq(0), newest.eq(0)]
        under_way = Mux(place >= _HEADERS, place - _HEADERS, 0)[: len(kernel)]
        needed = waiting * kernel + under_way
        self.prove(
            _ROOM,
            (signals["used"] == needed)
            & (needed <= _CONFIG.weight_words)
            & (~dut.writes.valid | (needed < _CONFIG.weight_words))
            & (signals["address"] == (newest + under_way)[:address_bits])
            & (signals["address"] == (oldest + needed)[:address_bits]),
            given=[_COUNTED],
        )
        self.prove(
            "a word goes to its place in the ring, unchanged",
            ~dut.writes.valid
            | (
                (dut.writes.payload.address == (newest + under_way)[:address_bits])
                & (dut.writes.payload.word == word)
            ),
            given=[_COUNTED, _ROOM],
        )
        self._follow_record(dut, signals, taken & (place < _HEADERS), place, waiting, completes)
        room = needed < _CONFIG.weight_words
        for name, favourable in (
            (_SOON, room & (waiting < RECORD_SLOTS)),
            ("words are taken as long as no channel waits to retire", waiting == 0),
        ):
            progress(
                self,
                name,
                favourable=valid & wanted & favourable,
                event=taken,
                cycles=3,
                given=[_COUNTED, _ROOM],
            )
        self.cover("a channel is loaded behind two others", dut.loaded & (waiting == 2))

    def _follow_record(
        self,
        dut: Any,
        signals: dict[str, Any],
        taken: Value,
        place: Signal,
        waiting: Signal,
        completes: Value,
    ) -> None:
        """Follow any one channel's record from where it is complete until the channel retires."""
        m = self.m
        earlier = [Signal.like(dut.words.payload, reset_less=True) for _ in range(_HEADERS - 1)]
        words = [*earlier, dut.words.payload]
        for old, new in pairwise(words):
            with m.If(taken):
                m.d.sync += old.eq(new)
        layout = ChannelRecord()
        expected: Any = Signal(layout, name="expected")
        slot = Signal(range(RECORD_SLOTS), name="followed_slot")
        followed, complete = Signal(name="followed"), Signal(name="followed_complete")
        in_front = Signal.like(waiting, name="in_front")
        settled = Signal(range(3), name="settled")
        ends = followed & complete & dut.retired & (in_front == 0)
        m.d.sync += settled.eq(Mux(followed & ~ends, Mux(settled == 2, 2, settled + 1), 0))
        with m.If(dut.retired & (in_front != 0)):
            m.d.sync += in_front.eq(in_front - 1)
        with m.If(completes):
            m.d.sync += complete.eq(1)
        with m.If(ends):
            m.d.sync += followed.eq(0)
        stored = taken & (place == _HEADERS - 1)
        with m.If(stored & ~followed & self.free(1, "picks")):
            m.d.sync += [
                followed.eq(1),
                complete.eq(0),
                in_front.eq(waiting - dut.retired),
                Value.cast(expected).eq(Cat(*words)[: layout.size]),
                slot.eq(signals["load_slot"]),
            ]
        m.d.comb += [dut.slot.eq(slot), dut.predictor_slot.eq(slot)]
        behind = waiting - in_front
        same_words = [signals[f"earlier_{number}"] == word for number, word in enumerate(earlier)]
        self.prove(
            _RECORD,
            (
                ~followed
                | (
                    (Value.cast(dut.record) == Value.cast(expected.requantiser))
                    & Mux(
                        complete,
                        (behind >= 1)
                        & (behind <= RECORD_SLOTS)
                        & (signals["load_slot"] == (slot + behind)[: len(slot)]),
                        (behind == 0) & (place >= _HEADERS) & (signals["load_slot"] == slot),
                    )
                )
            )
            & ((settled != 2) | (Value.cast(dut.predictor_record) == expected.predictor.as_value()))
            & (~followed | (settled != 0) | self.register(stored))
            & Cat(same_words).all(),
            given=[_COUNTED],
        )
