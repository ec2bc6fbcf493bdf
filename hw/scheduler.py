"""Pattern scheduler: emits `I_s` from `first_row` on, channel after channel.

It jumps from one computed position to the next, so that a sparse pattern feeds the array as fast as
a dense one: one pixel a cycle, but for at most one cycle at the start of a row that begins with
`I_t` and one for each end of channel.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from golden.pattern import MAX_PERIOD
from hw.config import Config
from hw.descriptor import LayerDescriptor
from hw.work import WorkItem

__all__ = ["PatternScheduler", "advance_residue"]


def advance_residue(residue, by, period):
    """(residue + by) mod period, for residue < period and by <= period."""
    moved = residue + by
    return Mux(moved >= period, moved - period, moved)


class PatternScheduler(wiring.Component):
    """Walks the computation pattern of a layer.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from `start` until the last item has left.
    start : In(1)
        Begin with the first channel; ignored while walking.
    items : Out(stream of WorkItem)
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "start": In(1),
                "items": Out(stream.Signature(WorkItem(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        pixels = bits_for(self._config.ofm_words)
        address = ceil_log2(self._config.ifm_words)

        row = Signal(pixels)
        col = Signal(pixels)
        residue = Signal(range(MAX_PERIOD))
        row_residue = Signal(range(MAX_PERIOD))
        row_index = Signal(pixels)
        row_base = Signal(address)
        channels_left = Signal(bits_for(self._config.most_channels))

        # The walk runs one stage ahead of the items, whose address takes a multiplication.
        room = ~self.items.valid | self.items.ready
        with m.If(self.items.ready):
            m.d.sync += self.items.valid.eq(0)

        ahead = layer.pattern >> residue
        gap = Signal(range(MAX_PERIOD + 1))
        for distance in reversed(range(1, MAX_PERIOD + 1)):
            with m.If(ahead[distance]):
                m.d.comb += gap.eq(distance)
        next_col = Signal(pixels + 1)
        m.d.comb += next_col.eq(col + gap)

        def restart():
            return [
                row.eq(layer.first_row),
                col.eq(0),
                *(s.eq(layer.first_residue) for s in (residue, row_residue)),
                row_index.eq(layer.restored),
                row_base.eq(layer.first_base),
            ]

        nothing = layer.first_row == layer.height

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [*restart(), channels_left.eq(layer.channels)]
                    m.next = "WALK"
                    with m.If(nothing):
                        m.next = "END"
            with m.State("WALK"):
                with m.If(room):
                    m.d.sync += [
                        self.items.valid.eq(ahead[0]),
                        self.items.payload.end.eq(0),
                        self.items.payload.pixel.index.eq(row_index + col),
                        self.items.payload.pixel.base.eq(row_base + col * layer.col_step),
                    ]
                    with m.If(next_col < layer.width):
                        m.d.sync += [
                            col.eq(next_col),
                            residue.eq(advance_residue(residue, gap, layer.period)),
                        ]
                    with m.Else():
                        start_residue = advance_residue(row_residue, 1, layer.period)
                        m.d.sync += [
                            row.eq(row + 1),
                            col.eq(0),
                            residue.eq(start_residue),
                            row_residue.eq(start_residue),
                            row_index.eq(row_index + layer.width),
                            row_base.eq(row_base + layer.row_step),
                        ]
                        with m.If(row + 1 == layer.height):
                            m.next = "END"
            with m.State("END"):
                with m.If(room):
                    m.d.sync += [
                        self.items.valid.eq(1),
                        self.items.payload.end.eq(1),
                        *restart(),
                        channels_left.eq(channels_left - 1),
                    ]
                    with m.If(channels_left == 1):
                        m.next = "IDLE"
                    with m.Elif(~nothing):
                        m.next = "WALK"
        return m
