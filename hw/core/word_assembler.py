"""Word assembler: joins placed beats to words of the ifm buffer.

A beat takes two cycles: to be turned so that its bytes are in their lanes, and to join what is in
the word. A beat enters every cycle, and at most one word leaves for each beat.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.core.beat_placer import PlacedBeat
from hw.engine.buffers import MaskedWrite
from hw.layouts.descriptor import TileDescriptor
from hw.lib.register_copies import register_copies
from hw.lib.structs import struct_signal

__all__ = ["WordAssembler"]

_KEPT_FIELDS = ("address", "whole", "moves", "kept")
"""Fields of a placed beat that a turned beat has too."""


class _TurnedBeat(data.StructLayout):
    """A beat whose bytes are in their lanes of the word; those whose bit in `mask` is set count."""

    def __init__(self, config: Config) -> None:
        placed = PlacedBeat(config).members
        super().__init__(
            {
                **{name: placed[name] for name in ("beat", *_KEPT_FIELDS)},
                "mask": config.lanes,
            }
        )


class WordAssembler(wiring.Component):
    """Builds one word at a time.

    Members
    -------
    tile : In(TileDescriptor)
        Stable while there are beats of the tile.
    placed : In(stream of PlacedBeat)
    writes : Out(stream of MaskedWrite)
    waiting : Out(1)
        A turned beat has not joined its word yet.
    """

    tile: data.View[TileDescriptor]
    placed: stream.Interface
    writes: stream.Interface
    waiting: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "tile": In(TileDescriptor(config)),
                "placed": In(stream.Signature(PlacedBeat(config))),
                "writes": Out(stream.Signature(MaskedWrite(config))),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        placed = self.placed.payload
        turned = struct_signal(_TurnedBeat(config), name="turned", reset_less=True)
        joins = self._may_join(self.waiting, self.writes.valid)
        turns = self.placed.valid & self.placed.ready
        m.d.comb += self.placed.ready.eq(~self.waiting | joins)
        beat = self._turn(m)
        with m.If(turns):
            m.d.sync += [
                turned.beat.eq(beat),
                turned.mask.eq(((1 << placed.bytes) - 1)[: config.bus_bytes] << placed.lane),
                *(turned[name].eq(placed[name]) for name in _KEPT_FIELDS),
            ]
        will_wait, will_be_valid = Signal(), Signal()
        m.d.comb += [
            will_wait.eq(turns | (self.waiting & ~joins)),
            will_be_valid.eq(Mux(joins, turned.whole, self.writes.valid & ~self.writes.ready)),
        ]
        m.d.sync += [self.waiting.eq(will_wait), self.writes.valid.eq(will_be_valid)]

        # Older pixels of the word move down by a pixel for each new one; none stays below the first
        # lane of the patch's row. The word itself moves, and the mask of the bytes to be written. A
        # pixel of a single beat always moves them. The eight bits of a byte and its bit of the mask
        # are independent, so each of them has its own copies of the flags that decide.
        write = struct_signal(MaskedWrite(config), name="write", reset_less=True)
        repeats = config.lanes // config.bus_bytes
        slices: list[tuple[Value, Value, Value]] = [
            (write.word[bit::8], ~turned.mask, turned.beat[bit::8].replicate(repeats) & turned.mask)
            for bit in range(8)
        ]
        slices.append((write.mask, turned.kept, turned.mask))
        moves: Sequence[Value] = [Const(1)] * len(slices)
        if config.group > config.bus_bytes:
            will_move = Mux(turns, placed.moves, turned.moves)
            moves = register_copies(m, platform, will_move, len(slices))
        further = (self.tile.ifm_channels - 1)[: ceil_log2(config.lanes) - 1]
        waiting, valid, distance = (
            register_copies(m, platform, value, len(slices))
            for value in (will_wait, will_be_valid, further)
        )
        for number, (lanes, kept, newer) in enumerate(slices):
            older = Mux(moves[number], _moved(m, lanes, distance[number]), lanes)
            with m.If(self._may_join(waiting[number], valid[number])):
                m.d.sync += lanes.eq((older & kept) | newer)
        with m.If(joins):
            m.d.sync += write.address.eq(turned.address)
        m.d.comb += self.writes.payload.eq(write)
        return m

    def _may_join(self, waiting: Value, valid: Value) -> Value:
        """High if the turned beat joins its word: the word before has left, or leaves now."""
        return waiting & (~valid | self.writes.ready)

    def _turn(self, m: Module) -> ValueLike:
        """The placed beat, rotated to where its bytes are in the beats of a word."""
        placed = self.placed.payload
        beat = Mux(placed.padding, 0, placed.beat)
        for shift in range(ceil_log2(self._config.bus_bytes)):
            # A signal for each step: Verilog would repeat an expression wherever it is used.
            rotated = Signal(self._config.bus_bits, name=f"turned_{shift}")
            m.d.comb += rotated.eq(Mux(placed.lane[shift], beat.rotate_left(8 << shift), beat))
            beat = rotated
        return beat


def _moved(m: Module, lanes: Value, distance: Value) -> Signal:
    """One bit of each lane, moved down by 1 + `distance` lanes; zeros follow."""
    moved = Signal.like(lanes, name="moved")
    m.d.comb += moved.eq(lanes[1:])
    for shift, is_farther in enumerate(distance):
        farther = Signal.like(lanes, name=f"moved_{shift}")
        m.d.comb += farther.eq(Mux(is_farther, moved[1 << shift :], moved))
        moved = farther
    return moved
