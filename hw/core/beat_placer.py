"""Beat placer: finds the place in the ifm buffer of every beat of a tile's ifm, and adds padding.

Beats arrive row by row, and in each row plane by plane. The rows follow those that the tile before
has left in the buffer, around the buffer's end. The placer walks over the padded map. At positions
outside the map it sends beats of zeros that nobody has asked for.

Where a word of the buffer holds a patch of pixels, each row arrives in as many passes as a patch
has rows: as the first row, the second row and so on of the patches that begin in it or above it.
Where patches begin at every `pack_height`-th row alone, each row arrives once. A
window slides along the row. Where its newest pixel is the last one of a patch's row, that row is
complete and is written.
"""

from __future__ import annotations

from typing import Any

from amaranth import Const, Module, Mux, Signal, Value, unsigned
from amaranth.hdl import Shape, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.contract.config import Config
from hw.layouts.descriptor import TileDescriptor
from hw.lib.structs import struct_signal

__all__ = ["BeatPlacer", "PlacedBeat"]


class PlacedBeat(data.StructLayout):
    """A beat and its place.

    The first `bytes` bytes of `beat`, or as many zeros if it is `padding`, go to the word at
    `address` from `lane` on. Before that, if the beat `moves`, the bytes of the word that are in
    lanes of `kept` move down by a pixel. After that, the word is written if it is `whole`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "beat": config.bus_bits,
                "padding": 1,
                "bytes": range(config.bus_bytes + 1),
                "lane": ceil_log2(config.lanes),
                "address": ceil_log2(config.ifm_words),
                "whole": 1,
                "moves": 1,
                "kept": config.lanes,
            }
        )


class BeatPlacer(wiring.Component):
    """Places the beats of one tile at a time; a beat a cycle, padding included.

    Members
    -------
    tile : In(TileDescriptor)
        Stable from `start` until `busy` falls.
    first_word : In(address)
        Buffer address of the first row; taken at `start`.
    start : In(1)
    busy : Out(1)
        There are more beats to be placed.
    beats : In(stream of beats)
    placed : Out(stream of PlacedBeat)
    """

    tile: data.View[TileDescriptor]
    first_word: Signal
    start: Signal
    busy: Signal
    beats: stream.Interface
    placed: stream.Interface

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "tile": In(TileDescriptor(config)),
                "first_word": In(ceil_log2(config.ifm_words)),
                "start": In(1),
                "busy": Out(1),
                "beats": In(stream.Signature(unsigned(config.bus_bits))),
                "placed": Out(stream.Signature(PlacedBeat(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        tile = self.tile
        beats_per_pixel = config.group // config.bus_bytes
        lane_bits = ceil_log2(config.lanes)
        rows, columns = _Rows(m, config, tile), _Columns(m, config, tile)
        plane, last_plane = Signal(bits_for(config.most_channels) + 1), Signal()
        part = Signal(range(max(beats_per_pixel, 2)))

        def at_first_plane() -> list[Any]:
            return [plane.eq(0), last_plane.eq(tile.ifm_channels <= config.group)]

        # Beats of channels past the last one are dropped.
        channel = plane + (part << ceil_log2(config.bus_bytes))
        left = tile.ifm_channels - channel
        present, in_map = Signal(), Signal()
        lane = Signal(lane_bits)
        bytes_left = Signal(range(config.bus_bytes + 1))
        first_of_row = columns.first & (part == 0)
        kept = Mux(
            first_of_row | (tile.pack_width == 1), 0, Const(-1, config.lanes) << rows.first_lane
        )
        room = ~self.placed.valid | (self.placed.valid & self.placed.ready)
        step = self.busy & room & (~in_map | self.beats.valid)
        m.d.comb += [
            in_map.eq(rows.in_map & columns.in_map),
            present.eq(channel < tile.ifm_channels),
            lane.eq(rows.first_lane + tile.pack_newest + channel),
            bytes_left.eq(Mux(left > config.bus_bytes, config.bus_bytes, left)),
            self.beats.ready.eq(self.busy & room & in_map),
        ]
        placed = struct_signal(PlacedBeat(config), name="placed", reset_less=True)
        m.d.comb += self.placed.payload.eq(placed)
        with m.If(self.placed.valid & self.placed.ready):
            m.d.sync += self.placed.valid.eq(0)

        part_ends = part == beats_per_pixel - 1
        column_ends = part_ends & columns.last
        plane_ends = column_ends & last_plane
        pass_ends = plane_ends & rows.last_pass
        with m.If(step):
            with m.If(present):
                m.d.sync += [
                    self.placed.valid.eq(1),
                    placed.beat.eq(self.beats.payload),
                    placed.padding.eq(~in_map),
                    placed.bytes.eq(bytes_left),
                    placed.lane.eq(lane),
                    placed.address.eq(
                        rows.word + columns.word + (channel >> ceil_log2(config.lanes))
                    ),
                    placed.whole.eq(columns.patch_ends & rows.patch_in_map),
                    placed.moves.eq(part == 0),
                    placed.kept.eq(kept),
                ]
            m.d.sync += part.eq(part + 1)
            with m.If(part_ends):
                m.d.sync += part.eq(0)
                columns.advance(m)
            with m.If(column_ends):
                m.d.sync += [
                    plane.eq(plane + config.group),
                    last_plane.eq(plane + 2 * config.group >= tile.ifm_channels),
                    *columns.begin(),
                ]
            with m.If(plane_ends):
                m.d.sync += [*at_first_plane(), *rows.advance_pass()]
            with m.If(pass_ends):
                m.d.sync += rows.advance()
            with m.If(pass_ends & rows.last):
                m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += [
                self.busy.eq((tile.ifm_height != 0) | (tile.pad_bottom != 0)),
                part.eq(0),
                *at_first_plane(),
                *columns.begin(),
                *rows.begin(self.first_word),
            ]
        return m


def _coordinate(tile: data.View[TileDescriptor]) -> Shape:
    """Shape of a row or column number of the padded map, counted from the map's first."""
    return signed(len(tile.ifm_height) + 2)


class _Columns:
    """The column of the newest pixel, and the word that its patch has in a row of words.

    Flags that depend on the column are registers: they are worked out a step ahead.

    Attributes
    ----------
    first, last : Signal
        The column is the first or the last one of the padded map.
    in_map : Signal
        The column is one of the map itself.
    patch_ends : Value
        The pixel is the last one of a patch's row.
    word : Signal
        Distance from the row's first word.
    """

    def __init__(self, m: Module, config: Config, tile: data.View[TileDescriptor]) -> None:
        self._tile = tile
        self._column, self._end = Signal(_coordinate(tile)), Signal(_coordinate(tile))
        self._left = Signal.like(tile.pack_width)
        self.first, self.last, self.in_map = Signal(), Signal(), Signal()
        self.patch_ends = self._left == 0
        self.word = Signal(ceil_log2(config.ifm_words))
        m.d.sync += self._end.eq(tile.ifm_width + tile.pad_right)

    def begin(self) -> list[Any]:
        """Statements that go to the first column."""
        tile = self._tile
        return [
            self._column.eq(-tile.pad_left),
            self.first.eq(1),
            self.last.eq((tile.pad_left + tile.ifm_width + tile.pad_right) == 1),
            self.in_map.eq(tile.pad_left == 0),
            self._left.eq(tile.pack_width - 1),
            self.word.eq(0),
        ]

    def advance(self, m: Module) -> None:
        """Go to the next column."""
        tile = self._tile
        following = self._column + 1
        m.d.sync += [
            self._column.eq(following),
            self.first.eq(0),
            self.last.eq(self._column + 2 == self._end),
            self.in_map.eq((following >= 0) & (following < tile.ifm_width)),
            self._left.eq(self._left - 1),
        ]
        with m.If(self.patch_ends):
            m.d.sync += [
                self._left.eq((1 << tile.ifm_col_shift) - 1),
                self.word.eq(self.word + tile.ifm_pixel_words),
            ]


class _Rows:
    """The row of the ifm, and the row of the patches as which it is placed in this pass.

    Attributes
    ----------
    in_map : Signal
        The row is one of the map itself; a register.
    patch_in_map : Value
        The patches of this pass begin in the map or its padding, not above.
    first_lane : Signal
        Lane of the first pixel of the patches' row.
    word : Signal
        Address of the first word of these patches.
    last, last_pass : Value
        The row is the last one, the pass is the row's last one.
    """

    def __init__(self, m: Module, config: Config, tile: data.View[TileDescriptor]) -> None:
        self._tile = tile
        self._row, self._end = Signal(_coordinate(tile)), Signal(_coordinate(tile))
        self._pass = Signal.like(tile.pack_height)
        self._row_word = Signal(ceil_log2(config.ifm_words))
        self.word = Signal(ceil_log2(config.ifm_words))
        self.first_lane = Signal(ceil_log2(config.lanes))
        self.in_map = Signal()
        self.patch_in_map = self._pass <= self._row + tile.pad_top + tile.pack_above
        self.last = self._row + 1 == self._end
        self._last_of_patch = self._pass + 1 == tile.pack_height
        self.last_pass = self._last_of_patch | tile.pack_apart
        m.d.sync += self._end.eq(tile.ifm_height + tile.pad_bottom)

    def begin(self, first_word: Value) -> list[Any]:
        """Statements that go to the first pass of the first row."""
        tile = self._tile
        return [
            self._row.eq(-tile.pad_top),
            self.in_map.eq((tile.pad_top == 0) & (tile.ifm_height != 0)),
            *(signal.eq(0) for signal in (self._pass, self.first_lane)),
            *(signal.eq(first_word) for signal in (self._row_word, self.word)),
        ]

    def advance_pass(self) -> list[Any]:
        """Statements that go to the next pass of the same row."""
        tile = self._tile
        return [
            self._pass.eq(self._pass + 1),
            self.first_lane.eq(self.first_lane + tile.pack_newest + tile.ifm_channels),
            self.word.eq(self.word - tile.ifm_row_words),
        ]

    def advance(self) -> list[Any]:
        """Statements that go to the first pass of the next row.

        Where patches do not overlap, the next row may be a further row of the same patches.
        """
        tile = self._tile
        following = self._row + 1
        same = tile.pack_apart & ~self._last_of_patch
        word = Mux(same, self._row_word, self._row_word + tile.ifm_row_words)
        lane = self.first_lane + tile.pack_newest + tile.ifm_channels
        return [
            self._row.eq(following),
            self.in_map.eq((following >= 0) & (following < tile.ifm_height)),
            self._pass.eq(Mux(same, self._pass + 1, 0)),
            self.first_lane.eq(Mux(same, lane, 0)),
            *(signal.eq(word) for signal in (self._row_word, self.word)),
        ]
