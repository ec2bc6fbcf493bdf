"""Pattern scheduler: emits `I_s` from `first_row` on, channel after channel.

It jumps from one computed position to the next, so that a sparse pattern feeds the array as fast as
a dense one: one pixel a cycle, but for at most one cycle at the start of a row that begins with
`I_t` and one for each end of channel. How far it jumps depends on the residue alone; those 16
distances are worked out before a layer's first pixel, `SCHEDULER_LATENCY` cycles after its start.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from golden.pattern import MAX_PERIOD
from hw.contract.config import Config
from hw.contract.timing import SCHEDULER_LATENCY
from hw.layouts.descriptor import LayerDescriptor
from hw.layouts.pixels import PixelOrEnd
from hw.lib.multiplier import Multiplier

__all__ = ["PatternScheduler"]

_JUMP = data.StructLayout({"computed": 1, "gap": range(MAX_PERIOD + 1), "after": range(MAX_PERIOD)})
"""Of a residue: whether `I_s` has it, the distance to the next that it has, and which that is."""


def _advance_residue(residue, by, period):
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
    items : Out(stream of PixelOrEnd)
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "start": In(1),
                "items": Out(stream.Signature(PixelOrEnd(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        pixels = bits_for(self._config.ofm_words)
        address = ceil_log2(self._config.ifm_words)

        row = Signal(pixels)
        col = Signal(pixels)
        jump = Signal(_JUMP)
        below = Signal(range(MAX_PERIOD))
        row_index = Signal(pixels)
        row_base = Signal(address)
        channels_left = Signal(bits_for(self._config.most_channels))

        # The walk runs two stages ahead of the items, whose address takes a multiplication.
        room = ~self.items.valid | self.items.ready
        item = self.items.payload
        found, ends = Signal(), Signal()
        index, line = Signal.like(item.pixel.index), Signal.like(item.pixel.base)
        m.submodules.product = product = Multiplier(
            col.shape(), layer.col_step.shape(), holds_factors=False
        )
        m.d.comb += [product.a.eq(col), product.b.eq(layer.col_step), product.enable.eq(room)]
        with m.If(room):
            m.d.sync += [
                found.eq(0),
                self.items.valid.eq(found),
                item.end.eq(ends),
                item.pixel.index.eq(index),
                item.pixel.base.eq(line + product.product),
            ]

        # The jumps, from the last residue to the first: one further where there is no `I_s`.
        m.submodules.jumps = jumps = memory.Memory(shape=_JUMP, depth=MAX_PERIOD, init=[])
        distance = jumps.write_port()
        along, next_row = jumps.read_port(domain="comb"), jumps.read_port(domain="comb")
        bits = Signal(2 * MAX_PERIOD)
        assert len(bits) + 2 == SCHEDULER_LATENCY, "a cycle for each bit, and two stages of items"
        residue = Signal(range(2 * MAX_PERIOD))
        gap = Signal(range(MAX_PERIOD + 1))
        m.d.comb += [
            distance.addr.eq(residue),
            distance.data.computed.eq(bits[-2]),
            distance.data.gap.eq(Mux(bits[-1], 1, gap + 1)),
            distance.data.after.eq(
                _advance_residue(distance.addr, distance.data.gap, layer.period)
            ),
            along.addr.eq(jump.after),
            next_row.addr.eq(below),
        ]
        m.d.sync += [gap.eq(distance.data.gap), bits.eq(bits << 1), residue.eq(residue - 1)]

        next_col = Signal(pixels + 1)
        m.d.comb += next_col.eq(col + jump.gap)

        def begin_row():
            return [
                col.eq(0),
                jump.eq(next_row.data),
                below.eq(_advance_residue(below, 1, layer.period)),
            ]

        def restart():
            return [
                *begin_row(),
                row.eq(layer.first_row),
                row_index.eq(layer.restored),
                row_base.eq(layer.first_base),
            ]

        nothing = layer.first_row == layer.height

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        bits.eq(layer.pattern),
                        residue.eq(2 * MAX_PERIOD - 2),
                        below.eq(layer.first_residue),
                        channels_left.eq(layer.channels),
                    ]
                    m.next = "PREPARE"
            with m.State("PREPARE"):
                m.d.comb += distance.en.eq(1)
                with m.If(residue == 0):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += restart()
                m.next = "WALK"
                with m.If(nothing):
                    m.next = "END"
            with m.State("WALK"):
                with m.If(room):
                    m.d.sync += [
                        found.eq(jump.computed),
                        ends.eq(0),
                        index.eq(row_index + col),
                        line.eq(row_base),
                    ]
                    with m.If(next_col < layer.width):
                        m.d.sync += [col.eq(next_col), jump.eq(along.data)]
                    with m.Else():
                        m.d.sync += [
                            *begin_row(),
                            row.eq(row + 1),
                            row_index.eq(row_index + layer.width),
                            row_base.eq(row_base + layer.row_step),
                        ]
                        with m.If(row + 1 == layer.height):
                            m.d.sync += below.eq(layer.first_residue)
                            m.next = "END"
            with m.State("END"):
                with m.If(room):
                    m.d.sync += [
                        found.eq(1),
                        ends.eq(1),
                        *restart(),
                        channels_left.eq(channels_left - 1),
                    ]
                    with m.If(channels_left == 1):
                        m.next = "IDLE"
                    with m.Elif(~nothing):
                        m.next = "WALK"
        return m
