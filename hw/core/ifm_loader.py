"""Ifm loader: from a tensor in memory to the words of the ifm buffer.

It asks for the beats of one row of one plane at a time: row by row, and in each row plane by plane.
`BeatPlacer` finds the place of each beat in the buffer, and `WordAssembler` joins the beats to
words. A beat enters every cycle, and takes three cycles.

Where a pixel has few channels, a word of the buffer holds a patch of `pack_height` by `pack_width`
pixels (`compiler.layer_lowering`), one for every 2**`ifm_col_shift`-th column. Each row of the ifm
is then asked for as many times as a patch has rows.
"""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.contract.config import Config
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
    requests : Out(stream of Request)
    beats : In(stream of beats)
    writes : Out(stream of MaskedWrite)
    """

    tile: data.View[TileDescriptor]
    start: Signal
    done: Signal
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
        asking = self._ask(m)
        placing = placer.busy | placer.placed.valid | assembler.waiting
        m.d.comb += [
            placer.tile.eq(self.tile),
            placer.start.eq(self.start),
            assembler.tile.eq(self.tile),
            self.done.eq(~asking & ~placing & ~self.writes.valid),
        ]
        return m

    def _ask(self, m: Module) -> Signal:
        """Send a request for each plane of each pass; returns whether there are more."""
        config = self._config
        tile = self.tile
        asking = Signal()
        plane, last_plane = Signal.like(tile.ifm_channels), Signal()
        pack_rows, rows = Countdown(tile.pack_height), Countdown(tile.ifm_height)
        row_address = Signal.like(tile.ifm_address)
        address = Signal.like(tile.ifm_address)
        request = self.requests.payload
        m.d.comb += [
            self.requests.valid.eq(asking),
            request.address.eq(address),
            request.beats.eq(tile.ifm_width * (config.group // config.bus_bytes)),
        ]

        def at_first_plane() -> list[Any]:
            return [plane.eq(0), last_plane.eq(tile.ifm_channels <= config.group)]

        following_row = row_address + tile.ifm_row
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
            with m.If(last_plane & pack_rows.last):
                m.d.sync += [
                    address.eq(following_row),
                    row_address.eq(following_row),
                    asking.eq(~rows.last),
                    *rows.advance(),
                ]
        with m.If(self.start):
            m.d.sync += [
                asking.eq(tile.ifm_height != 0),
                *at_first_plane(),
                *pack_rows.begin(),
                *rows.begin(),
                *(s.eq(tile.ifm_address) for s in (address, row_address)),
            ]
        return asking
