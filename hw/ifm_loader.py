"""Ifm loader: from a tensor in memory to the words of the ifm buffer.

Row by row, and in each row plane by plane, it asks for the beats of one row and places them in the
buffer; padding is placed as zeros that nobody asks for. Rows follow those that the tile before has
left there, around the buffer's end.

Where a pixel has few channels, a word of the buffer holds a patch of `pack_height` by `pack_width`
pixels (`compiler.lower`). A beat is then placed once in each patch that its pixel is part of; there
are patches at every 2**`ifm_col_shift`-th column. Throughput: one placement a cycle, a cycle for
a beat without any.
"""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.hdl import signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hw.axi import Request
from hw.buffers import PartWrite
from hw.config import Config
from hw.program import MAX_COL_SHIFT, TileDescriptor

__all__ = ["IfmLoader"]


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
    writes : Out(stream of PartWrite)
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
                "writes": Out(stream.Signature(PartWrite(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        asking = self._ask(m)
        placing = self._place(m)
        m.d.comb += self.done.eq(~asking & ~placing & ~self.writes.valid)
        return m

    def _ask(self, m: Module):
        """Requests, one for each row of each plane; returns whether there are more."""
        config = self._config
        tile = self.tile
        asking = Signal()
        row, plane = Signal.like(tile.ifm_height), Signal.like(tile.ifm_channels)
        row_address = Signal.like(tile.ifm_address)
        address = Signal.like(tile.ifm_address)
        request = self.requests.payload
        m.d.comb += [
            self.requests.valid.eq(asking),
            request.address.eq(address),
            request.beats.eq(tile.ifm_width * (config.group // config.bus_bytes)),
        ]
        following_plane = plane + config.group
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [plane.eq(following_plane), address.eq(address + tile.ifm_plane)]
            with m.If(following_plane >= tile.ifm_channels):
                m.d.sync += [
                    plane.eq(0),
                    row.eq(row + 1),
                    address.eq(row_address + tile.ifm_row),
                    row_address.eq(row_address + tile.ifm_row),
                ]
                with m.If(row + 1 == tile.ifm_height):
                    m.d.sync += asking.eq(0)
        with m.If(self.start):
            m.d.sync += [
                asking.eq(tile.ifm_height != 0),
                row.eq(0),
                plane.eq(0),
                address.eq(tile.ifm_address),
                row_address.eq(tile.ifm_address),
            ]
        return asking

    def _place(self, m: Module):
        """Writes, one for each place of each beat; returns whether there are more."""
        config = self._config
        tile = self.tile
        lane_bits, beat_bits = ceil_log2(config.lanes), ceil_log2(config.bus_bytes)
        coordinate = signed(len(tile.ifm_height) + 2)
        address = unsigned(ceil_log2(config.ifm_words))

        placing = Signal()
        row, col = Signal(coordinate), Signal(coordinate)
        plane = Signal(bits_for(config.most_channels) + 1)
        part = Signal(range(max(config.group // config.bus_bytes, 2)))
        pack_row, pack_col = Signal.like(tile.pack_height), Signal(len(tile.pack_width) + 1)
        back = Signal.like(tile.pack_width)
        phase = Signal(MAX_COL_SHIFT)
        phase_slot, row_slot, slot = (
            Signal(lane_bits + 1, name=name) for name in ("phase_slot", "row_slot", "slot")
        )
        row_word, line_word, col_word = Signal(address), Signal(address), Signal(address)

        # A beat, its place in the word, and whether there is one: not before the map's first row or
        # column, and none for channels past the last.
        channel = plane + (part << beat_bits)
        lane = Signal(lane_bits)
        in_map = Signal()
        present = Signal()
        bytes_left = Signal(range(config.bus_bytes + 1))
        left = tile.ifm_channels - channel
        m.d.comb += [
            in_map.eq((row >= 0) & (row < tile.ifm_height) & (col >= 0) & (col < tile.ifm_width)),
            lane.eq(slot + channel),
            bytes_left.eq(Mux(left > config.bus_bytes, config.bus_bytes, left)),
            present.eq(
                (channel < tile.ifm_channels)
                & (pack_row <= row + tile.pad_top + tile.pack_above)
                & (pack_col <= col + tile.pad_left)
                & (pack_col < tile.pack_width)
            ),
        ]
        beat = Mux(in_map, self.beats.payload, 0)
        turned = beat
        for shift in range(beat_bits):
            turned = Mux(lane[shift], turned.rotate_left(8 << shift), turned)
        enables = ((1 << bytes_left) - 1)[: config.bus_bytes]

        room = ~self.writes.valid | self.writes.ready
        step = placing & room & (~in_map | self.beats.valid)
        col_stride = (1 << tile.ifm_col_shift)[: MAX_COL_SHIFT + 1]
        pack_col_ends = pack_col + col_stride >= tile.pack_width
        pack_ends = pack_col_ends & (pack_row + 1 == tile.pack_height)
        part_ends = pack_ends & (part == config.group // config.bus_bytes - 1)
        col_ends = part_ends & (col + 1 == (tile.ifm_width + tile.pad_right))
        plane_ends = col_ends & (plane + config.group >= tile.ifm_channels)
        row_ends = plane_ends & (row + 1 == (tile.ifm_height + tile.pad_bottom))
        last_phase = phase == col_stride - 1
        next_phase = Mux(last_phase, 0, phase + 1)
        next_slot = Mux(last_phase, 0, phase_slot + tile.ifm_channels)
        m.d.comb += self.beats.ready.eq(placing & room & in_map & pack_ends)

        with m.If(self.writes.ready):
            m.d.sync += self.writes.valid.eq(0)
        with m.If(step):
            write = self.writes.payload
            m.d.sync += [
                self.writes.valid.eq(present),
                write.address.eq(line_word + col_word - back + (channel >> lane_bits)),
                write.word.eq(turned.replicate(config.lanes // config.bus_bytes)),
                write.mask.eq(enables << lane),
                pack_col.eq(pack_col + col_stride),
                back.eq(back + 1),
                slot.eq(slot + (tile.ifm_channels << tile.ifm_col_shift)),
            ]
            with m.If(pack_col_ends):
                m.d.sync += [
                    pack_col.eq(phase),
                    back.eq(0),
                    slot.eq(row_slot + tile.pack_row_lanes),
                    row_slot.eq(row_slot + tile.pack_row_lanes),
                    pack_row.eq(pack_row + 1),
                    line_word.eq(line_word - tile.ifm_row_words),
                ]
            with m.If(pack_ends):
                m.d.sync += [
                    pack_row.eq(0),
                    slot.eq(phase_slot),
                    row_slot.eq(phase_slot),
                    part.eq(part + 1),
                    line_word.eq(row_word),
                ]
            with m.If(part_ends):
                m.d.sync += [
                    part.eq(0),
                    col.eq(col + 1),
                    *(s.eq(next_phase) for s in (phase, pack_col)),
                    *(s.eq(next_slot) for s in (phase_slot, row_slot, slot)),
                ]
                with m.If(last_phase):
                    m.d.sync += col_word.eq(col_word + tile.ifm_pixel_words)
            with m.If(col_ends):
                m.d.sync += [
                    plane.eq(plane + config.group),
                    col.eq(-tile.pad_left),
                    *(s.eq(0) for s in (phase, pack_col, phase_slot, row_slot, slot, col_word)),
                ]
            with m.If(plane_ends):
                following = row_word + tile.ifm_row_words
                m.d.sync += [
                    plane.eq(0),
                    row.eq(row + 1),
                    row_word.eq(following),
                    line_word.eq(following),
                ]
            with m.If(row_ends):
                m.d.sync += placing.eq(0)
        with m.If(self.start):
            m.d.sync += [
                placing.eq((tile.ifm_height != 0) | (tile.pad_bottom != 0)),
                row.eq(-tile.pad_top),
                col.eq(-tile.pad_left),
                *(s.eq(0) for s in (plane, part, pack_row, pack_col, back)),
                *(s.eq(0) for s in (phase, phase_slot, row_slot, slot)),
                *(s.eq(tile.ifm_first_word) for s in (row_word, line_word)),
                col_word.eq(0),
            ]
        return placing
