"""Ifm loader: from a tensor in memory to the words of the ifm buffer.

Row by row, and in each row plane by plane, it asks for the beats of one row and places them in the
buffer; padding is placed as zeros that nobody asks for. Rows follow those that the tile before has
left there, around the buffer's end.

Where a pixel has few channels, a word of the buffer holds a patch of `pack_height` by `pack_width`
pixels (`compiler.layer_lowering`), one for every 2**`ifm_col_shift`-th column. Each row of the ifm
is then asked for in as many passes as a patch has rows, and placed as the first, second, ... row of
patches that begin in it or above. A window slides along: where its newest pixel is the last of a
patch's row, that row is written. Throughput: a beat a cycle; it takes three, to find its place, to
be turned to it, and to join what is there.
"""

from collections.abc import Sequence

from amaranth import Const, Module, Mux, Signal, Value, unsigned
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.contract.config import Config
from hw.core.axi import Request
from hw.engine.buffers import MaskedWrite
from hw.layouts.descriptor import TileDescriptor
from hw.lib.countdown import Countdown
from hw.lib.register_copies import register_copies

__all__ = ["IfmLoader"]


class _Placed(data.StructLayout):
    """A beat, zeros if it is `padding`, of which `bytes` count, and where it goes.

    Its first byte goes to `lane` of the word at `address`, which is then to be written if `whole`.
    Before that, if it `moves`, what is in the word moves a pixel down, down to lanes of `kept`.
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


class _Turned(data.StructLayout):
    """A beat whose bytes lie as in the word at `address`: those whose bit in `mask` is set."""

    def __init__(self, config: Config) -> None:
        fields = ("beat", "address", "whole", "moves", "kept")
        placed = _Placed(config).members
        super().__init__({**{name: placed[name] for name in fields}, "mask": config.lanes})


class IfmLoader(wiring.Component):
    """Loads one tile's ifm at a time.

    Members
    -------
    tile : In(TileDescriptor)
        Stable from `start` to `done`.
    start : In(1)
    done : Out(1)
        The last write has been taken; also before the first start.
    requests : Out(stream of Request)
    beats : In(stream of beats)
    writes : Out(stream of MaskedWrite)
    """

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

    def elaborate(self, platform):
        m = Module()
        asking = self._ask(m)
        placing = self._place(m, platform)
        m.d.comb += self.done.eq(~asking & ~placing & ~self.writes.valid)
        return m

    def _ask(self, m: Module):
        """Requests, one for each plane of each pass; returns whether there are more."""
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

        def at_first_plane():
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

    def _place(self, m: Module, platform):
        """Writes, at most one for each beat; returns whether there are more."""
        config = self._config
        tile = self.tile
        lane_bits, beat_bits = ceil_log2(config.lanes), ceil_log2(config.bus_bytes)
        coordinate = signed(len(tile.ifm_height) + 2)
        address = unsigned(ceil_log2(config.ifm_words))

        placing = Signal()
        row, col = Signal(coordinate), Signal(coordinate)
        plane = Signal(bits_for(config.most_channels) + 1)
        part = Signal(range(max(config.group // config.bus_bytes, 2)))
        pack_row = Signal.like(tile.pack_height)
        slot = Signal(lane_bits)
        cols_left = Signal.like(tile.pack_width)
        row_word, line_word, col_word = Signal(address), Signal(address), Signal(address)
        # Where a position is in the map is known when it comes, not compared when it is placed.
        row_in_map, col_in_map = Signal(), Signal()
        first_col, last_col, last_plane = Signal(), Signal(), Signal()
        end_row, end_col = Signal(coordinate), Signal(coordinate)
        m.d.sync += [
            end_row.eq(tile.ifm_height + tile.pad_bottom),
            end_col.eq(tile.ifm_width + tile.pad_right),
        ]

        def at_first_col():
            return [
                col.eq(-tile.pad_left),
                first_col.eq(1),
                last_col.eq((tile.pad_left + tile.ifm_width + tile.pad_right) == 1),
                col_in_map.eq(tile.pad_left == 0),
                cols_left.eq(tile.pack_width - 1),
                col_word.eq(0),
            ]

        def at_first_plane():
            return [plane.eq(0), last_plane.eq(tile.ifm_channels <= config.group)]

        # A beat, and its lanes in the row of a patch whose last pixel it is of. There are none for
        # channels past the last, and no patches that begin above the map's first row.
        channel = plane + (part << beat_bits)
        lane = Signal(lane_bits)
        in_map = Signal()
        present = Signal()
        bytes_left = Signal(range(config.bus_bytes + 1))
        left = tile.ifm_channels - channel
        placed = Signal(_Placed(config), reset_less=True)
        turned = Signal(_Turned(config), reset_less=True)
        held, waits = Signal(), Signal()
        will_wait, will_be_valid = Signal(), Signal()

        def merges(waits, valid):
            return waits & (~valid | self.writes.ready)

        merged = merges(waits, self.writes.valid)
        turns = held & (~waits | merged)
        m.d.comb += [
            in_map.eq(row_in_map & col_in_map),
            lane.eq(slot + tile.pack_newest + channel),
            bytes_left.eq(Mux(left > config.bus_bytes, config.bus_bytes, left)),
            present.eq(channel < tile.ifm_channels),
        ]
        # Each step of a shift is a signal: an expression would be written out anew for each use.
        beat = Mux(placed.padding, 0, placed.beat)
        for shift in range(beat_bits):
            rotated = Signal(config.bus_bits, name=f"turned_{shift}")
            m.d.comb += rotated.eq(Mux(placed.lane[shift], beat.rotate_left(8 << shift), beat))
            beat = rotated
        with m.If(turns):
            m.d.sync += [
                turned.beat.eq(beat),
                turned.mask.eq(((1 << placed.bytes) - 1)[: config.bus_bytes] << placed.lane),
                *(turned[name].eq(placed[name]) for name in ("address", "whole", "moves", "kept")),
            ]

        # The row of a patch: older pixels move a pixel down for each new one, and none below the
        # first lane of the row. What moves is the word to be written itself, and which of its bytes
        # are to be; a pixel of a single beat always moves them. No bit of a byte meets another, so
        # each has copies of what decides.
        write = Signal(MaskedWrite(config), reset_less=True)
        repeats = config.lanes // config.bus_bytes
        slices = [
            (write.word[bit::8], ~turned.mask, turned.beat[bit::8].replicate(repeats) & turned.mask)
            for bit in range(8)
        ]
        slices.append((write.mask, turned.kept, turned.mask))
        moves: Sequence[Value] = [Const(1)] * len(slices)
        if config.group > config.bus_bytes:
            will_move = Mux(turns, placed.moves, turned.moves)
            moves = register_copies(m, platform, will_move, len(slices))
        deciding = (will_wait, will_be_valid, (tile.ifm_channels - 1)[: lane_bits - 1])
        flags = zip(
            moves, *(register_copies(m, platform, value, len(slices)) for value in deciding)
        )
        for (lanes, kept, newer), (is_moved, waiting, valid, distance) in zip(slices, flags):
            older = Mux(is_moved, _moved(m, lanes, distance), lanes)
            with m.If(merges(waiting, valid)):
                m.d.sync += lanes.eq((older & kept) | newer)
        with m.If(merged):
            m.d.sync += write.address.eq(turned.address)
        m.d.comb += [
            self.writes.payload.eq(write),
            will_wait.eq(turns | (waits & ~merged)),
            will_be_valid.eq(Mux(merged, turned.whole, self.writes.valid & ~self.writes.ready)),
        ]
        m.d.sync += [waits.eq(will_wait), self.writes.valid.eq(will_be_valid)]
        begins = first_col & (part == 0)
        kept_lanes = Mux(begins | (tile.pack_width == 1), 0, Const(-1, config.lanes) << slot)

        room = ~held | turns
        step = placing & room & (~in_map | self.beats.valid)
        whole = cols_left == 0
        part_ends = part == config.group // config.bus_bytes - 1
        col_ends = part_ends & last_col
        plane_ends = col_ends & last_plane
        pass_ends = plane_ends & (pack_row + 1 == tile.pack_height)
        row_ends = pass_ends & (row + 1 == end_row)
        m.d.comb += self.beats.ready.eq(placing & room & in_map)

        with m.If(turns):
            m.d.sync += held.eq(0)
        with m.If(step):
            with m.If(present):
                m.d.sync += [
                    held.eq(1),
                    placed.beat.eq(self.beats.payload),
                    placed.padding.eq(~in_map),
                    placed.bytes.eq(bytes_left),
                    placed.lane.eq(lane),
                    placed.address.eq(line_word + col_word + (channel >> lane_bits)),
                    placed.whole.eq(whole & (pack_row <= row + tile.pad_top + tile.pack_above)),
                    placed.moves.eq(part == 0),
                    placed.kept.eq(kept_lanes),
                ]
            m.d.sync += part.eq(part + 1)
            with m.If(part_ends):
                m.d.sync += [
                    part.eq(0),
                    col.eq(col + 1),
                    first_col.eq(0),
                    last_col.eq(col + 2 == end_col),
                    col_in_map.eq((col + 1 >= 0) & (col + 1 < tile.ifm_width)),
                    cols_left.eq(cols_left - 1),
                ]
                with m.If(whole):
                    m.d.sync += [
                        cols_left.eq((1 << tile.ifm_col_shift) - 1),
                        col_word.eq(col_word + tile.ifm_pixel_words),
                    ]
            with m.If(col_ends):
                m.d.sync += [
                    plane.eq(plane + config.group),
                    last_plane.eq(plane + 2 * config.group >= tile.ifm_channels),
                    *at_first_col(),
                ]
            with m.If(plane_ends):
                m.d.sync += [
                    *at_first_plane(),
                    pack_row.eq(pack_row + 1),
                    slot.eq(slot + tile.pack_newest + tile.ifm_channels),
                    line_word.eq(line_word - tile.ifm_row_words),
                ]
            with m.If(pass_ends):
                following = row_word + tile.ifm_row_words
                m.d.sync += [
                    *(s.eq(0) for s in (pack_row, slot)),
                    row.eq(row + 1),
                    row_in_map.eq((row + 1 >= 0) & (row + 1 < tile.ifm_height)),
                    *(s.eq(following) for s in (row_word, line_word)),
                ]
            with m.If(row_ends):
                m.d.sync += placing.eq(0)
        with m.If(self.start):
            m.d.sync += [
                placing.eq((tile.ifm_height != 0) | (tile.pad_bottom != 0)),
                row.eq(-tile.pad_top),
                row_in_map.eq((tile.pad_top == 0) & (tile.ifm_height != 0)),
                *at_first_col(),
                *at_first_plane(),
                *(s.eq(0) for s in (part, pack_row, slot)),
                *(s.eq(tile.ifm_first_word) for s in (row_word, line_word)),
            ]
        return placing | held | waits


def _moved(m: Module, lanes: Value, distance: Value) -> Signal:
    """A bit of each lane, moved down by a lane and as many more as `distance`; zeros follow."""
    moved = Signal.like(lanes, name="moved")
    m.d.comb += moved.eq(lanes[1:])
    for shift, is_farther in enumerate(distance):
        farther = Signal.like(lanes, name=f"moved_{shift}")
        m.d.comb += farther.eq(Mux(is_farther, moved[1 << shift :], moved))
        moved = farther
    return moved
