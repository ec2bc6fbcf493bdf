"""Compactor: gathers a stream of pixels into vectors of P pixels, one for each PE."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.layouts.pixels import Pixel, PixelOrEnd, PixelVector
from hw.lib.structs import struct_signal

__all__ = ["Compactor"]


class Compactor(wiring.Component):
    """Gathers pixels into vectors, so that every PE has one whichever pixels were skipped.

    It takes a pixel a cycle. A vector leaves when it is full or when its channel ends. One vector
    may wait behind one that has not been taken, so that `items.ready` comes from a register.

    Without `config.compact` a vector holds only pixels of the same P neighbours, and leaves when
    the next pixel is none of them.

    Members
    -------
    items : In(stream of PixelOrEnd)
    vectors : Out(stream of PixelVector)
    """

    items: stream.Interface
    vectors: stream.Interface

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "items": In(stream.Signature(PixelOrEnd(config))),
                "vectors": Out(stream.Signature(PixelVector(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        gathered = struct_signal(
            data.ArrayLayout(Pixel(self._config), self._config.pes), name="gathered"
        )
        room = ~self.vectors.valid | self.vectors.ready
        if self._config.compact:
            self._compact(m, gathered, room)
        else:
            self._keep_apart(m, gathered, room)
        return m

    def _compact(self, m: Module, gathered: data.View, room: Value) -> None:
        """Vectors of any P pixels of a channel."""
        pes = self._config.pes
        item, vector = self.items.payload, self.vectors.payload
        count = Signal(range(max(pes, 2)))  # Verilog has no vector of zero bits
        waiting = Signal()
        waiting_mask = Signal(pes)
        waiting_end = Signal()
        taken = self.items.valid & self.items.ready
        completes = taken & (item.end | (count == pes - 1))
        mask = (1 << (count + ~item.end)) - 1
        m.d.comb += self.items.ready.eq(~waiting)

        with m.If(taken):
            m.d.sync += [gathered[count].eq(item.pixel), count.eq(Mux(completes, 0, count + 1))]
        with m.If(completes):
            m.d.sync += [waiting.eq(~room), waiting_mask.eq(mask), waiting_end.eq(item.end)]
        with m.If(room):
            m.d.sync += [
                self.vectors.valid.eq(waiting | completes),
                waiting.eq(0),
                vector.end.eq(Mux(waiting, waiting_end, item.end)),
                vector.mask.eq(Mux(waiting, waiting_mask, mask)),
                vector.pixels.eq(gathered),
            ]
            with m.If(~waiting):
                m.d.sync += vector.pixels[count].eq(item.pixel)

    def _keep_apart(self, m: Module, gathered: data.View, room: Value) -> None:
        """Vectors of those of P neighbours that are there; the other PEs are idle."""
        pes = self._config.pes
        item, vector = self.items.payload, self.vectors.payload
        count = Signal(range(pes + 1))
        place_bits = ceil_log2(pes)
        moves_on = item.pixel.index[place_bits:] != gathered[0].index[place_bits:]
        completes = item.end | ((count != 0) & moves_on)
        m.d.comb += self.items.ready.eq(room | ~completes)
        with m.If(self.vectors.ready):
            m.d.sync += self.vectors.valid.eq(0)
        with m.If(self.items.valid & self.items.ready):
            m.d.sync += [gathered[count].eq(item.pixel), count.eq(count + 1)]
            with m.If(completes):
                m.d.sync += [
                    self.vectors.valid.eq(1),
                    vector.end.eq(item.end),
                    vector.mask.eq((1 << count) - 1),
                    vector.pixels.eq(gathered),
                    gathered[0].eq(item.pixel),
                    count.eq(~item.end),
                ]
