"""The upsizers of a memory port: every byte, strobe and length is kept, in order.

The queues of both may be any that keep their words in order. What the queues and registers hold
at any time, in terms of what was asked for, is proved first, and the other properties with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth import Array, Cat, Mux, Signal
from amaranth.hdl import Fragment, Value, ValueLike

from hw.contract.system import System
from tests.formal.harness import Defect, Harness, all_of, progress, stream_is_stable
from tests.formal.harnesses.queue import AnyOrderedQueue
from tests.hw.small_configs import TINY

__all__ = ["ReadUpsizerHarness", "WriteUpsizerHarness"]

_MODULE = "hw.cores.upsizer"
_BITS, _BYTES, _RATIO = TINY.bus_bits, TINY.bus_bits // 8, 2
_SYSTEM = System(config=TINY, cores=2, memory_bits=_RATIO * _BITS)
_BURST = 4
_COUNT = 6
"""Bits of a number of beats in the harness."""
_NARROW, _WIDE = _BYTES.bit_length() - 1, (_RATIO * _BYTES).bit_length() - 1
_HELD = "the queues hold what was taken and has not left, in order"
_WAIT = "the bursts that were taken and not asked for are held"
_SIZES = f"bursts of up to {_BURST} beats, {_RATIO} of them in a beat of the port"


def _lane(address: Value) -> Value:
    return address[_NARROW:_WIDE]


def _wide_beats(address: Value, length: Value) -> Value:
    """Beats of the port that a burst touches."""
    return (((_lane(address) + length) >> (_WIDE - _NARROW)) + 1)[:3]


def _sum(values: Iterable[Value], which: Iterable[Value]) -> Value:
    """The sum of those values whose condition holds."""
    total = Value.cast(0)
    for value, counts in zip(values, which, strict=True):
        total = (total + Mux(counts, value, 0))[:_COUNT]
    return total


class _Held:
    """A burst of the read upsizer's second queue."""

    def __init__(self, value: ValueLike) -> None:
        self.value = Value.cast(value)
        self.ident, self.lane, self.left = self.value[:2], self.value[2:3], self.value[3:5]
        self.wide = (((self.lane + self.left) >> 1) + 1)[:3]


def _queue_of_words(*, width: int, words: int) -> AnyOrderedQueue:
    return AnyOrderedQueue(width=width, depth=words + 1)


class _UpsizerHarness(Harness):
    """What the two upsizers have in common."""

    component = "PortUpsizer"
    constants = {_MODULE: {"BURST": _BURST, "READ_QUEUE": 4}}  # noqa: RUF012

    def upsizer(self, name: str, queue: str, part: Any) -> Any:
        """Add an upsizer whose queues may be any; they become `queue` and `bursts`."""
        module = self.source(_MODULE)
        queues = self.stand_in(module, queue, part)
        self.named = self.named_signals(module)
        dut = getattr(module, name)(_SYSTEM)
        self.m.submodules.dut = Fragment.get(dut, None)
        self.queue, self.bursts = queues
        for each, label in ((self.queue, "queue"), (self.bursts, "bursts")):
            each.choose(self, label)
        return dut

    def request(self, core: Any, channel: str) -> tuple[Value, Value, Value]:
        """Let the environment ask for a core's bursts.

        Returns whether one is taken, its address and AxLEN.
        """
        valid = self.drive(getattr(core, f"{channel}valid"), "request_valid")
        address = getattr(core, f"{channel}addr")
        words = self.free(len(address) - _NARROW, "request_address")
        self.m.d.comb += address.eq(words << _NARROW)
        length = self.drive(getattr(core, f"{channel}len"), "request_length")
        # A burst does not leave its block.
        block = _BURST.bit_length() - 1
        self.assume(~valid | (words[:block] + length < _BURST))
        return valid & getattr(core, f"{channel}ready"), address, length


class ReadUpsizerHarness(_UpsizerHarness):
    """Read upsizer; any beat of any burst is followed from its request on."""

    component = "ReadUpsizer"
    depth = 2
    sizes = f"{_SIZES}; one bit of a beat stands for all"
    defects = (
        Defect(
            module=_MODULE,
            old="lane = (first.lane + done)[: ceil_log2(system.ratio)]",
            new="lane = done[: ceil_log2(system.ratio)]",
            breaks=_HELD,
        ),
        Defect(
            module=_MODULE,
            old="free.eq(free - Mux(leaves, beats, 0) + popped)",
            new="free.eq(free - leaves + popped)",
            breaks=_HELD,
        ),
        Defect(
            module=_MODULE,
            old="popped.eq(taken & (core.rlast | lane.all()))",
            new="popped.eq(taken & lane.all())",
            breaks=_HELD,
        ),
        Defect(
            module=_MODULE,
            old="core.rlast.eq(done == first.left)",
            new="core.rlast.eq(done + 1 == first.left)",
            breaks="a burst has as many beats as were asked for",
        ),
    )

    def build(self) -> None:
        m = self.m
        dut = self.upsizer("ReadUpsizer", "memory_queue", _queue_of_words)
        self.core, self.port = core, port = dut.core, dut.port
        enters, address, length = self.request(core, "ar")
        self.drive(core.arid, "request_id")
        self.drive(core.rready, "rready")
        self.drive(port.arready, "arready")

        # The memory answers bursts in order, with as many beats as it was asked for.
        owed = Signal(_COUNT, name="owed")
        asked, comes = port.arvalid & port.arready, port.rvalid & port.rready
        m.d.comb += port.rvalid.eq(self.free(1, "answers") & (owed != 0))
        bits = self.free(_RATIO, "bits")
        m.d.comb += Cat(port.rdata[lane * _BITS] for lane in range(_RATIO)).eq(bits)
        self.drive(port.rresp, "rresp")
        m.d.sync += owed.eq(owed + Mux(asked, port.arlen + 1, 0) - comes)
        # Narrow beats that are owed to the core, wide ones that the memory will still give.
        narrow, wide = Signal(_COUNT, name="narrow"), Signal(_COUNT, name="wide")
        leaves = core.rvalid & core.rready
        m.d.sync += [
            narrow.eq(narrow + Mux(enters, length + 1, 0) - leaves),
            wide.eq(wide + Mux(enters, _wide_beats(address, length), 0) - comes),
        ]
        # A beat of a burst is picked: what is in front of it on both sides.
        picks = self.free(1, "picks")
        beat = self.free(range(_BURST), "picked_beat")
        followed, came = Signal(name="followed"), Signal(name="came")
        ahead, wide_ahead = Signal(_COUNT, name="ahead"), Signal(_COUNT, name="wide_ahead")
        lane, last = Signal(range(_RATIO), name="lane"), Signal(name="last")
        place, number = Signal(4, name="burst_place"), Signal(range(_BURST), name="number")
        kept, resp = Signal(name="kept"), Signal(2, name="resp")
        ident = Signal.like(core.arid, name="ident")
        mine = followed & (ahead == 0) & leaves
        m.d.sync += [ahead.eq(ahead - leaves), wide_ahead.eq(wide_ahead - comes)]
        with m.If(followed & ~came & comes & (wide_ahead == 0)):
            m.d.sync += [came.eq(1), kept.eq(bits.bit_select(lane, 1)), resp.eq(port.rresp)]
        with m.If(self.bursts.leaves):
            m.d.sync += place.eq(place - 1)
        with m.If(mine):
            m.d.sync += followed.eq(0)
        with m.If(~followed & enters & picks & (beat <= length)):
            m.d.sync += [
                followed.eq(1),
                came.eq(0),
                place.eq(self.bursts.level - self.bursts.leaves),
                number.eq(beat),
                ahead.eq(narrow + beat - leaves),
                wide_ahead.eq(wide + ((_lane(address) + beat) >> 1) - comes),
                lane.eq(_lane(address) + beat),
                last.eq(beat == length),
                ident.eq(core.arid),
            ]
        # What the queues hold. A burst that has not been asked for stands behind those that have.
        queue, bursts, named = self.queue, self.bursts, self.named
        full, done = named["full"], named["done"]
        count = (bursts.level + full)[:4]
        pending = Cat(named["request"], _lane(named["address"]), named["length"])
        held = [
            _Held(Mux(bursts.level > index, entry, pending)) for index, entry in
            enumerate([*bursts.places, pending])
        ]  # fmt: skip
        there = [Value.cast(index < count) for index in range(len(held))]
        begun = Mux(bursts.level != 0, (held[0].lane + done) >> 1, 0)
        at_port = Mux(port.arvalid, port.arlen + 1, 0)
        before = [Value.cast(index < place) for index in range(len(held))]
        own = _Held(Array(each.value for each in held)[place])
        lengths, wides = [each.left + 1 for each in held], [each.wide for each in held]
        narrow_before, wide_before = _sum(lengths, before), _sum(wides, before)
        position = (wide_before + ((own.lane + number) >> 1) - begun)[:_COUNT]
        word: Any = Array(queue.places)[position]
        # A word is data and response; the data of a lane are one bit, as all others are alike.
        bit = word.bit_select(lane * _BITS, 1)
        followed_is_right = all_of(
            [
                place < count,
                number <= own.left,
                (place != 0) | (number >= done),
                ahead == (narrow_before + number - done)[:_COUNT],
                lane == (own.lane + number)[:1],
                last == (number == own.left),
                ident == own.ident,
                came == (position < queue.level),
                ~came | ((bit == kept) & (word[_RATIO * _BITS :] == resp)),
                came | (wide_ahead == (position - queue.level)[:_COUNT]),
            ]
        )
        self.prove(
            _HELD,
            all_of(
                [
                    bursts.level <= bursts.depth,
                    queue.level <= queue.depth,
                    ~full | (_lane(named["address"]) + named["length"] < _BURST),
                    narrow == (_sum(lengths, there) - done)[:_COUNT],
                    Mux(bursts.level != 0, done <= held[0].left, done == 0),
                    wide == (_sum(wides, there) - begun - queue.level)[:_COUNT],
                    wide == owed + at_port + Mux(full, _Held(pending).wide, 0),
                    named["free"] + owed + at_port + queue.level == queue.depth - 1,
                    ~followed | followed_is_right,
                ]
            ),
        )
        given = [_HELD]
        self.prove("the port is never held up", port.rready | ~port.rvalid, given=given)
        self.prove(
            "no beat leaves that was not asked for", ~core.rvalid | (narrow != 0), given=given
        )
        offered = followed & (ahead == 0) & core.rvalid
        self.prove("a beat is offered once the memory has given it", ~offered | came, given=given)
        got = Cat(core.rdata[0], core.rresp, core.rid)
        self.prove(
            "a beat is that of its address, with its response",
            ~offered | (got == Cat(kept, resp, ident)),
            given=given,
        )
        self.prove(
            "a burst has as many beats as were asked for",
            ~offered | (core.rlast == last),
            given=given,
        )
        stream_is_stable(
            self, "a burst at the port is stable", port.arvalid, port.arready, port.araddr,
            port.arlen,
        )  # fmt: skip
        stream_is_stable(
            self, "an offered beat is stable", core.rvalid, core.rready, got, core.rlast
        )
        both = queue.r_rdy & bursts.r_rdy
        self.prove(
            "a beat is offered as soon as the queues offer it",
            ~(followed & came & (ahead == 0) & both) | core.rvalid,
            given=given,
        )
        progress(
            self,
            "a burst is asked for, or beats are there, or the memory owes some",
            favourable=(narrow != 0) & (owed == 0) & port.arready,
            event=asked | (bursts.level != 0) & (queue.level != 0),
            cycles=4,
            given=given,
        )
        self.cover("a followed beat leaves", mine & (lane != 0) & ~last)
        self._asks(enters, address, length, asked)

    def _asks(self, enters: Value, address: Value, length: Value, asked: Value) -> None:
        """Prove that the port asks for the beats that each burst touches."""
        m, port = self.m, self.port
        waits, wanted = Signal(name="waits"), Signal.like(port.araddr, name="wanted")
        beats = Signal(3, name="wanted_beats")
        full = Signal(range(4), name="bursts_inside")
        # At most two are between core and port; the followed one is the last that was taken.
        ahead = Signal(range(4), name="bursts_ahead")
        m.d.sync += full.eq(full + enters - asked)
        with m.If(asked):
            m.d.sync += [ahead.eq(ahead - 1), waits.eq(waits & (ahead != 0))]
        with m.If(enters & self.free(1, "burst_picks")):
            m.d.sync += [
                waits.eq(1),
                ahead.eq(full - asked),
                wanted.eq(address),
                beats.eq(_wide_beats(address, length)),
            ]
        named = self.named
        at_port = (
            (port.araddr == Cat(wanted[:_WIDE] & 0, wanted[_WIDE:]))
            & (port.arlen + 1 == beats)
        )  # fmt: skip
        behind = (
            (ahead == port.arvalid)
            & named["full"]
            & (named["address"] == wanted)
            & (_wide_beats(named["address"], named["length"]) == beats)
        )
        self.prove(
            _WAIT,
            (full == named["full"] + port.arvalid)
            & (~waits | Mux(ahead < port.arvalid, at_port, behind)),
        )
        self.prove(
            "the port asks for the beats that a burst touches, in order",
            ~(port.arvalid & waits & (ahead == 0)) | at_port,
            given=[_WAIT],
        )
        self.prove("the port asks for no other burst", ~port.arvalid | (full != 0), given=[_WAIT])


class WriteUpsizerHarness(_UpsizerHarness):
    """Write upsizer; a lane of any beat of the port is followed from its request on."""

    component = "WriteUpsizer"
    sizes = f"{_SIZES}; one byte of a beat and one bit of it stand for all"
    defects = (
        Defect(
            module=_MODULE,
            old="strobes.eq(Mux(lane.all(), 0, marks))",
            new="strobes.eq(marks)",
            breaks=_HELD,
        ),
        Defect(
            module=_MODULE,
            old="lane.eq(lanes.lane(core.awaddr)),",
            new="lane.eq(0),",
            breaks=_HELD,
        ),
        Defect(
            module=_MODULE,
            old="queue.w_en.eq(taken & (core.wlast | lane.all())),",
            new="queue.w_en.eq(taken & lane.all()),",
            breaks=_HELD,
        ),
        Defect(
            module=_MODULE,
            old="bursts.w_data.eq(Cat(lanes.aligned(address), lanes.length(address, length)))",
            new="bursts.w_data.eq(Cat(address, lanes.length(address, length)))",
            breaks=_WAIT,
        ),
    )

    def build(self) -> None:
        m = self.m
        dut = self.upsizer("WriteUpsizer", "SyncFIFOBuffered", AnyOrderedQueue)
        self.core, self.port = core, port = dut.core, dut.port
        enters, address, length = self.request(core, "aw")
        self.drive(port.awready, "awready")
        self.drive(port.wready, "wready")
        for name in ("bvalid", "bid", "bresp"):
            self.drive(getattr(port, name), name)
        self.drive(core.bready, "bready")

        # The core gives the data of a burst once it was taken, and none beyond them.
        left = Signal(range(_BURST + 1), name="left")
        taken = core.wvalid & core.wready
        m.d.sync += left.eq(Mux(enters, length + 1, left - taken))
        m.d.comb += [
            core.wvalid.eq(self.free(1, "data_valid") & (left != 0)),
            core.wlast.eq(left == 1),
            core.wdata.eq(self.free(1, "data_bit")),
            core.wstrb.eq(self.free(1, "strobe")),
        ]
        # Wide beats that are due at the port, from those that were taken.
        wide, given = Signal(_COUNT, name="wide"), port.wvalid & port.wready
        m.d.sync += wide.eq(wide + Mux(enters, _wide_beats(address, length), 0) - given)
        picks = self.free(1, "picks")
        picked = self.free(3, "picked_lane")
        followed, ahead = Signal(name="followed"), Signal(_COUNT, name="ahead")
        lane, until = Signal(1, name="lane"), Signal(3, name="until")
        counts, strobe, bit = Signal(name="counts"), Signal(name="kept_strobe"), Signal(name="bit")
        last = Signal(name="last")
        mine = followed & (ahead == 0) & given
        beats = _wide_beats(address, length)
        m.d.sync += ahead.eq(ahead - given)
        with m.If(mine):
            m.d.sync += followed.eq(0)
        with m.If(counts & taken):
            m.d.sync += until.eq(until - 1)
            with m.If(until == 0):
                m.d.sync += [counts.eq(0), strobe.eq(core.wstrb[0]), bit.eq(core.wdata[0])]
        # `picked` is a lane, counted from the burst's first beat of the port on.
        with m.If(~followed & enters & picks & (picked < beats << 1)):
            first = _lane(address)
            inside = (picked >= first) & (picked <= first + length)
            m.d.sync += [
                followed.eq(1),
                ahead.eq(wide + (picked >> 1) - given),
                lane.eq(picked),
                last.eq((picked >> 1) + 1 == beats),
                counts.eq(inside),
                until.eq(picked - first),
                strobe.eq(0),
            ]
        # What the queue holds, and the word that is collected behind it.
        queue, named = self.queue, self.named
        collects, own_lane = named["collects"], _lane(named["address"])
        # Beats of the burst that were collected, and words of it that the queue has had.
        so_far = (named["length"] + 1 - left)[:3]
        words = (own_lane + so_far) >> 1
        all_words = _wide_beats(named["address"], named["length"])
        word: Any = Array(queue.places)[ahead]
        data_at, strobe_at = lane * _BITS, _RATIO * _BITS + lane * _BYTES
        in_word = (
            ~counts
            & (word.bit_select(strobe_at, 1) == strobe)
            & (~strobe | (word.bit_select(data_at, 1) == bit))
            & (word[-1] == last)
        )
        behind = (ahead - queue.level)[:_COUNT]
        beat_of = ((words + behind) << 1) + lane
        comes_later = (beat_of >= own_lane + so_far) & (beat_of <= own_lane + named["length"])
        partial = (named["strobes"].bit_select(lane * _BYTES, 1) == strobe) & (
            ~strobe | (named["collected"].bit_select(data_at, 1) == bit)
        )
        in_burst = all_of(
            [
                collects,
                words + behind < all_words,
                last == (words + behind + 1 == all_words),
                counts == comes_later,
                ~counts | (until == (beat_of - own_lane - so_far)[:3]),
                counts | Mux(behind == 0, partial, ~strobe),
            ]
        )
        self.prove(
            _HELD,
            all_of(
                [
                    queue.level <= queue.depth,
                    self.bursts.level <= self.bursts.depth,
                    collects == (left != 0),
                    ~collects | (own_lane + named["length"] < _BURST),
                    ~collects | (left <= named["length"] + 1),
                    ~collects | (named["lane"] == (own_lane + so_far)[:1]),
                    wide == (queue.level + Mux(collects, all_words - words, 0))[:_COUNT],
                    ~followed | Mux(ahead < queue.level, in_word, in_burst),
                ]
            ),
        )
        given = [_HELD]
        self.prove("one burst is taken at a time", ~enters | (left == 0), given=given)
        self.prove("no beat leaves that was not written", ~port.wvalid | (wide != 0), given=given)
        offered = followed & (ahead == 0) & port.wvalid
        strobes, data = port.wstrb.word_select(lane, _BYTES), port.wdata.word_select(lane, _BITS)
        self.prove(
            "a beat is offered once the core has given its data", ~offered | ~counts, given=given
        )
        self.prove(
            "a lane has the strobe and the byte of its beat, or no strobe",
            ~offered | ((strobes[0] == strobe) & (~strobe | (data[0] == bit))),
            given=given,
        )
        self.prove(
            "a burst's last beat is marked, and no other",
            ~offered | (port.wlast == last),
            given=given,
        )
        stream_is_stable(
            self, "an offered beat is stable", port.wvalid, port.wready, port.wstrb[0], port.wlast
        )
        self._writes(enters, address, length)
        self.prove(
            "a response passes to the core in the same cycle",
            (core.bvalid == port.bvalid)
            & (port.bready == core.bready)
            & (core.bresp == port.bresp)
            & (core.bid == port.bid),
        )
        self.cover("a followed beat leaves", mine & strobe & ~last)

    def _writes(self, enters: Value, address: Value, length: Value) -> None:
        """Prove what is said of the bursts at the port."""
        m, port = self.m, self.port
        given, asked = port.wvalid & port.wready, port.awvalid & port.awready
        inside, ahead = (
            Signal(range(8), name="bursts_inside"),
            Signal(range(8), name="bursts_ahead"),
        )
        waits, wanted = Signal(name="waits"), Signal.like(port.awaddr, name="wanted")
        beats = Signal(3, name="wanted_beats")
        m.d.sync += inside.eq(inside + enters - asked)
        with m.If(asked):
            m.d.sync += [ahead.eq(ahead - 1), waits.eq(waits & (ahead != 0))]
        with m.If(enters & self.free(1, "burst_picks")):
            m.d.sync += [
                waits.eq(1),
                ahead.eq(inside - asked),
                wanted.eq(address),
                beats.eq(_wide_beats(address, length)),
            ]
        bursts, named = self.bursts, self.named
        entry: Any = Array(bursts.places)[ahead]
        collected = _wide_beats(named["address"], named["length"])
        # Ends of bursts that are offered, less those whose data have left: below zero where the
        # data come first.
        offers = self.register(port.awvalid & ~port.awready)
        new = port.awvalid & ~offers
        open_ = Signal(_COUNT, name="open")
        m.d.sync += open_.eq(open_ + new - (given & port.wlast))
        places = list(enumerate(self.queue.places))
        lasts = _sum(
            [place[-1:] for _, place in places],
            [Value.cast(index < self.queue.level) for index, _ in places],
        )
        self.prove(
            _WAIT,
            all_of(
                [
                    inside == bursts.level + named["collects"],
                    open_ == (lasts - bursts.level + offers)[:_COUNT],
                    ~offers | (bursts.level != 0),
                    ~waits
                    | Mux(
                        ahead < bursts.level,
                        (entry[: len(wanted)] == Cat(wanted[:_WIDE] & 0, wanted[_WIDE:]))
                        & (entry[len(wanted) :] + 1 == beats),
                        (ahead == bursts.level)
                        & named["collects"]
                        & (named["address"] == wanted)
                        & (collected == beats),
                    ),
                ]
            ),
            given=[_HELD],
        )
        known = [_HELD, _WAIT]
        self.prove("the port writes no other burst", ~port.awvalid | (inside != 0), given=known)
        self.prove(
            "the port writes the beats that a burst touches, in order",
            ~(port.awvalid & waits & (ahead == 0))
            | (
                (port.awaddr[_WIDE:] == wanted[_WIDE:])
                & (port.awaddr[:_WIDE] == 0)
                & (port.awlen + 1 == beats)
            ),
            given=known,
        )
        stream_is_stable(
            self, "a burst at the port is stable", port.awvalid, port.awready, port.awaddr,
            port.awlen,
        )  # fmt: skip
        due = (open_ + new)[:_COUNT]
        self.prove(
            "a burst that is offered has its data",
            (due == 0) | due[-1] | (lasts != 0),
            given=known,
        )
        core = self.core
        both = port.awready & port.wready & self.queue.r_rdy
        progress(
            self,
            "data are taken soon, where the port takes bursts and data",
            favourable=core.wvalid & both & (bursts.r_rdy | (bursts.level == 0)),
            event=core.wready,
            cycles=3,
            given=known,
        )
        self.prove(
            "a burst is taken when the one before has its data",
            core.awready | named["collects"],
        )
