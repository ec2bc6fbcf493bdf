"""Ofm drain: hands an ofm bank out in raster order, pooled on its way where the layer says so.

Of a strip it hands out the rows that are the strip's own, pooled, and then the pixels that the
strip below needs, as they are.

It reads the windows of a max or average pooling tap by tap, G channels at a time (`WindowWalk`). A
tap takes a cycle, and an average G + 9 more for each window. Meanwhile the array computes the next
group of G channels, so it waits only where a bank takes longer to drain than to fill.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden import arithmetic
from hw.contract.config import Config
from hw.engine.averager import AVERAGER_LATENCY, Averager
from hw.engine.window_walk import WindowWalk
from hw.layouts.descriptor import LayerDescriptor
from hw.lib.pipeline import delayed

__all__ = ["OfmDrain"]

_QUEUE = 8
"""Words that may be between the walk and the receiver: three in memory and combination, the others
in the queue."""
_COMBINED = 3
"""Cycles from a tap's address until the lanes include it."""


class OfmDrain(wiring.Component):
    """Reads one bank after another.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable while words leave.
    go : In(1)
        Hand out a bank; ignored while one leaves.
    read : Out(1)
        A pixel is read in this cycle.
    address : Out(ofm index)
    word : In(8 * G)
        The word at the address of two cycles before.
    done : Out(1)
        All that leaves of the bank has been read.
    idle : Out(1)
        No word is left to leave.
    words : Out(stream of G bytes)
    """

    layer: data.View
    go: Signal
    read: Signal
    address: Signal
    word: Signal
    done: Signal
    idle: Signal
    words: stream.Interface

    def __init__(self, config: Config) -> None:
        self._config = config
        word = 8 * config.group
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "go": In(1),
                "read": Out(1),
                "address": Out(ceil_log2(config.ofm_words)),
                "word": In(word),
                "done": Out(1),
                "idle": Out(1),
                "words": Out(stream.Signature(unsigned(word))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        average_cycles = _COMBINED + config.group + AVERAGER_LATENCY
        m.submodules.walk = walk = WindowWalk(config, average_cycles=average_cycles)
        m.d.comb += [
            walk.layer.eq(self.layer),
            walk.go.eq(self.go),
            self.read.eq(walk.inside),
            self.address.eq(walk.address),
            self.done.eq(walk.done),
        ]
        lanes = self._combine(m, walk)
        m.submodules.averager = averager = Averager(
            config, sums=lanes[0].shape(), first_phase=_COMBINED, phases=average_cycles
        )
        pool = self.layer.pool
        m.d.comb += [
            averager.phase.eq(walk.phase),
            *(sum_.eq(lane) for sum_, lane in zip(averager.sums, lanes, strict=True)),
            averager.multiplier.eq(pool.multiplier),
            averager.shift.eq(pool.shift),
            averager.ofm_signed.eq(self.layer.ofm_signed),
        ]

        # The words, reserved as soon as a window's last tap is visited.
        m.submodules.queue = queue = SyncFIFO(width=8 * config.group, depth=_QUEUE)
        reserved = Signal(range(_QUEUE + 1))
        ends = walk.tap & walk.last
        combined = delayed(m, ends & (walk.spilling | ~pool.average), _COMBINED)
        m.d.comb += [
            walk.ready.eq(reserved != _QUEUE),
            queue.w_en.eq(combined | walk.averaged),
            queue.w_data.eq(Mux(walk.averaged, averager.averages, Cat(lane[:8] for lane in lanes))),
            self.words.payload.eq(queue.r_data),
            self.words.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.words.ready),
            self.idle.eq(walk.resting & (reserved == 0)),
        ]
        leaves = self.words.valid & self.words.ready
        m.d.sync += reserved.eq(reserved + ends - leaves)
        return m

    def _combine(self, m: Module, walk: WindowWalk) -> list[Signal]:
        """Combines the taps of a window, lane by lane: the sum of an average, else the maximum."""
        config = self._config
        layer = self.layer
        value_bits = 9
        shape = signed(value_bits + ceil_log2(config.ofm_words))
        lanes = [Signal(shape, name=f"lane_{n}", reset_less=True) for n in range(config.group)]
        tap = delayed(m, walk.tap, _COMBINED - 1)
        first = delayed(m, walk.first, _COMBINED - 1)
        inside = delayed(m, walk.inside, _COMBINED - 1)
        average = layer.pool.average
        least = Mux(layer.ofm_signed, arithmetic.S8[0], arithmetic.U8[0])
        for number, lane in enumerate(lanes):
            byte = self.word.word_select(number, 8)
            value = Cat(byte, byte[7] & layer.ofm_signed).as_signed()
            with m.If(tap & first):
                m.d.sync += lane.eq(Mux(inside, value, Mux(average, 0, least)))
            with m.Elif(tap & inside):
                m.d.sync += lane.eq(Mux(average, lane + value, Mux(value > lane, value, lane)))
        return lanes
