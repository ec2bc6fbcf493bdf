"""Residual loader: from a tensor in memory to the stream of `hw.engine.residual_banks`.

It reads the rows that are added, picks every `residual_stride`-th pixel of each, and hands out
zeros for planes that the residual does not have (`golden.layers.Shortcut`). One beat a cycle.
"""

from __future__ import annotations

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.contract.bus import BEATS_BITS
from hw.contract.config import Config
from hw.core.axi import Request
from hw.layouts.descriptor import TileDescriptor
from hw.lib.countdown import Countdown
from hw.lib.multiplier import product
from hw.lib.pipeline import delayed
from hw.lib.width_converter import Upsizer

__all__ = ["ResidualLoader"]


class ResidualLoader(wiring.Component):
    """Loads one tile's residual at a time, if the tile has one (`residual`).

    Members
    -------
    tile : In(TileDescriptor)
        Stable from `start` until every word has left.
    start : In(1)
    done : Out(1)
        Every word has left; also high before the first start.
    requests : Out(stream of Request)
    beats : In(stream of beats)
    words : Out(stream of G bytes)
        See `hw.engine.residual_banks`.
    """

    tile: data.View[TileDescriptor]
    start: Signal
    done: Signal
    requests: stream.Interface
    beats: stream.Interface
    words: stream.Interface

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "tile": In(TileDescriptor(config)),
                "start": In(1),
                "done": Out(1),
                "requests": Out(stream.Signature(Request())),
                "beats": In(stream.Signature(unsigned(config.bus_bits))),
                "words": Out(stream.Signature(unsigned(8 * config.group))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asking = self._ask(m)
        picking = self._pick(m)
        m.d.comb += self.done.eq(~asking & ~picking)
        return m

    def _ask(self, m: Module) -> Signal:
        """Send a request for each row of each plane; returns whether there are more."""
        config = self._config
        tile = self.tile
        rows, planes = Countdown(tile.height), Countdown(tile.residual_planes)
        plane_address = Signal.like(tile.residual_address)
        address = Signal.like(tile.residual_address)
        asking = Signal()
        request = self.requests.payload
        # The length of a row takes three cycles to compute.
        steps, pixels = Signal.like(tile.width), Signal(BEATS_BITS)
        m.d.sync += [
            steps.eq(tile.width - 1),
            pixels.eq(product(m, steps, tile.residual_stride) + 1),
        ]
        begins = delayed(m, self.start, 2)
        m.d.comb += [
            self.requests.valid.eq(asking),
            request.address.eq(address),
            request.beats.eq(pixels * (config.group // config.bus_bytes)),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [address.eq(address + tile.residual_row), *rows.advance()]
            with m.If(rows.last):
                following = plane_address + tile.residual_plane
                m.d.sync += [
                    address.eq(following),
                    plane_address.eq(following),
                    asking.eq(~planes.last),
                    *planes.advance(),
                ]
        with m.If(begins):
            m.d.sync += [
                asking.eq(tile.residual & (tile.residual_planes != 0)),
                *rows.begin(),
                *planes.begin(),
                address.eq(tile.residual_address),
                plane_address.eq(tile.residual_address),
            ]
        return asking

    def _pick(self, m: Module) -> Signal:
        """Hand out the pixels that are added, and zeros; returns whether there are more."""
        config = self._config
        tile = self.tile
        m.submodules.widen = widen = Upsizer(config.bus_bits, config.group // config.bus_bytes)
        connect(m, flipped(self.beats), widen.i)
        picking = Signal()
        channel = Signal(len(tile.channels) + 1)
        plane = Signal.like(tile.residual_planes)
        rows, cols = Countdown(tile.height), Countdown(tile.width)
        between = Signal.like(tile.residual_stride)

        # It takes a cycle to find out whether the residual has a plane, and whether it is the last.
        fresh = Signal()
        present, last = Signal(), Signal()
        past = Signal(len(plane) + 1)
        picked = between == 0
        m.d.sync += [
            past.eq(tile.residual_first + tile.residual_planes),
            present.eq((plane >= tile.residual_first) & (plane < past)),
            last.eq(channel + config.group >= tile.channels),
            fresh.eq(0),
        ]
        ready = picking & ~fresh
        m.d.comb += [
            self.words.payload.eq(Mux(present, widen.o.payload, 0)),
            self.words.valid.eq(ready & picked & (~present | widen.o.valid)),
            widen.o.ready.eq(ready & present & (self.words.ready | ~picked)),
        ]
        row_ends = picked & cols.last
        plane_ends = row_ends & rows.last
        moves = Mux(picked, self.words.valid & self.words.ready, widen.o.valid & widen.o.ready)
        with m.If(moves):
            with m.If(picked):
                m.d.sync += [
                    *cols.advance(),
                    between.eq(Mux(present, tile.residual_stride - 1, 0)),
                ]
            with m.Else():
                m.d.sync += between.eq(between - 1)
            with m.If(row_ends):
                m.d.sync += [between.eq(0), *rows.advance()]
            with m.If(plane_ends):
                m.d.sync += [
                    plane.eq(plane + 1),
                    channel.eq(channel + config.group),
                    picking.eq(~last),
                    fresh.eq(1),
                ]
        with m.If(self.start):
            m.d.sync += [
                picking.eq(tile.residual),
                fresh.eq(1),
                *cols.begin(),
                *rows.begin(),
                *(s.eq(0) for s in (channel, plane, between)),
            ]
        return picking
