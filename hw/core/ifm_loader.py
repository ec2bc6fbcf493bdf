"""Ifm loader: from a tensor in memory to the words of the ifm buffer.

It asks for the beats of one row of one plane at a time: row by row, and in each row plane by plane.
`BeatPlacer` finds the place of each beat in the buffer, and `WordAssembler` joins the beats to
words. A beat enters every cycle, and takes three cycles.

Where the ifm comes in slices (`compiler.lowering.slices`), each is loaded like an ifm of its own,
as soon as there is room for it in the buffer.

Where a pixel has few channels, a word of the buffer holds a patch of `pack_height` by `pack_width`
pixels (`compiler.lowering.layer_lowering`), one for every 2**`ifm_col_shift`-th column. Each row
of the ifm is then asked for as many times as a patch has rows, unless patches begin at every
`pack_height`-th row alone.
"""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.contract.config import Config
from hw.contract.program import MOST_SLOTS
from hw.core.axi import Request
from hw.core.beat_placer import BeatPlacer
from hw.core.word_assembler import WordAssembler
from hw.engine.buffers import MaskedWrite
from hw.layouts.descriptor import TileDescriptor
from hw.lib.countdown import Countdown

__all__ = ["IfmLoader"]


class IfmLoader(wiring.Component):
    """Loads one tile's ifm at a time.

    Members
    -------
    tile : In(TileDescriptor)
        Stable from `start` to `done`.
    start : In(1)
    done : Out(1)
        The last write has been taken; also high before the first start.
    slice_retired : In(1)
        The oldest slice in the buffer is no longer needed.
    slice_loaded : Out(1)
        One more slice is in the buffer.
    requests : Out(stream of Request)
    beats : In(stream of beats)
    writes : Out(stream of MaskedWrite)
    """

    tile: data.View[TileDescriptor]
    start: Signal
    done: Signal
    slice_retired: Signal
    slice_loaded: Signal
    requests: stream.Interface
    beats: stream.Interface
    writes: stream.Interface

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "tile": In(TileDescriptor(config)),
                "start": In(1),
                "done": Out(1),
                "slice_retired": In(1),
                "slice_loaded": Out(1),
                "requests": Out(stream.Signature(Request())),
                "beats": In(stream.Signature(unsigned(config.bus_bits))),
                "writes": Out(stream.Signature(MaskedWrite(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.placer = placer = BeatPlacer(self._config)
        m.submodules.assembler = assembler = WordAssembler(self._config)
        connect(m, flipped(self.beats), placer.beats)
        connect(m, placer.placed, assembler.placed)
        connect(m, assembler.writes, flipped(self.writes))
        begin = Signal()
        asking = self._ask(m, begin)
        placing = placer.busy | placer.placed.valid | assembler.waiting
        written = Signal()
        m.d.comb += written.eq(~asking & ~placing & ~self.writes.valid)
        slices_left, first_word = self._follow_slices(m, begin, written)
        m.d.comb += [
            placer.tile.eq(self.tile),
            placer.first_word.eq(first_word),
            placer.start.eq(begin),
            assembler.tile.eq(self.tile),
            self.done.eq(written & ~slices_left),
        ]
        return m

    def _follow_slices(self, m: Module, begin: Signal, written: Value) -> tuple[Signal, Value]:
        """Begin one slice after another, each when the one before is in the buffer.

        An ifm that is one slice begins at the start, because there is room for it then. Returns
        whether slices are in work or left, and the address of the first word of the next one.
        """
        tile = self.tile
        sliced = tile.slice_step != 0
        slices_left, loading, more = Signal(), Signal(), Signal()
        channels_left = Signal.like(tile.channels)
        first_word = Signal.like(tile.ifm_first_word)
        held = Signal(range(MOST_SLOTS + 1))
        begin_slice = Signal()
        m.d.comb += [
            begin_slice.eq(more & ~loading & (held != tile.ifm_slots)),
            begin.eq((self.start & ~sliced) | begin_slice),
            # A write that the buffer has taken may wait there for its port until it takes another.
            self.slice_loaded.eq(loading & written & self.writes.ready),
            slices_left.eq(more | loading),
        ]
        m.d.sync += held.eq(held + begin_slice - self.slice_retired)
        with m.If(begin_slice):
            m.d.sync += [
                loading.eq(1),
                channels_left.eq(channels_left - tile.slice_channels),
                more.eq(channels_left > tile.slice_channels),
            ]
        with m.If(self.slice_loaded):
            m.d.sync += [loading.eq(0), first_word.eq(first_word + tile.slice_step)]
        with m.If(self.start):
            m.d.sync += [
                channels_left.eq(tile.channels),
                first_word.eq(tile.ifm_first_word),
                more.eq(sliced),
            ]
        return slices_left, Mux(sliced, first_word, tile.ifm_first_word)

    def _ask(self, m: Module, begin: Value) -> Signal:
        """Send a request for each plane of each pass; returns whether there are more.

        After a slice's last request it goes to the next slice.
        """
        config = self._config
        tile = self.tile
        asking = Signal()
        plane, last_plane = Signal.like(tile.ifm_channels), Signal()
        pack_rows, rows = Countdown(tile.pack_height), Countdown(tile.ifm_height)
        row_address = Signal.like(tile.ifm_address)
        slice_address = Signal.like(tile.ifm_address)
        address = Signal.like(tile.ifm_address)
        request = self.requests.payload
        m.d.comb += [
            self.requests.valid.eq(asking),
            request.address.eq(address),
            request.beats.eq(tile.ifm_width * (config.group // config.bus_bytes)),
        ]

        def at_first_plane() -> list[Any]:
            return [plane.eq(0), last_plane.eq(tile.ifm_channels <= config.group)]

        last_pass = pack_rows.last | tile.pack_apart
        following_row = Mux(rows.last, slice_address, row_address) + Mux(
            rows.last, tile.ifm_slice, tile.ifm_row
        )
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [
                plane.eq(plane + config.group),
                last_plane.eq(plane + 2 * config.group >= tile.ifm_channels),
                address.eq(address + tile.ifm_plane),
            ]
            with m.If(last_plane):
                m.d.sync += [
                    *at_first_plane(),
                    address.eq(row_address),
                    *pack_rows.advance(),
                ]
            with m.If(last_plane & last_pass):
                m.d.sync += [
                    address.eq(following_row),
                    row_address.eq(following_row),
                    asking.eq(~rows.last),
                    *rows.advance(),
                ]
                with m.If(rows.last):
                    m.d.sync += slice_address.eq(following_row)
        with m.If(begin):
            m.d.sync += [
                asking.eq(tile.ifm_height != 0),
                *at_first_plane(),
                *pack_rows.begin(),
                *rows.begin(),
            ]
        with m.If(self.start):
            m.d.sync += [s.eq(tile.ifm_address) for s in (address, row_address, slice_address)]
        return asking
