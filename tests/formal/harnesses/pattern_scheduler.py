"""The pattern scheduler gives every pixel of `I_s` once, in raster order, for any pattern."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth import Cat, Const, Mux, Signal
from amaranth.hdl import Value

from hw.contract.program import RESIDUE_BITS
from hw.layouts.descriptor import LayerDescriptor
from tests.formal.harness import Defect, Harness, elaborated, in_state, stream_is_stable
from tests.hw.small_configs import TINY

__all__ = ["PatternSchedulerHarness"]

_MODULE = "hw.engine.pattern_scheduler"
_CONFIG = replace(TINY, ofm_words=16, ifm_words=16)
_SIDE, _PERIOD = 3, 3
"""Most rows and columns, and the longest period."""
_CYCLES = 16
"""Cycles from power-up; a layer's first pixel leaves after eight."""
_ORDER = "pixels are in raster order, and in the map"
_ONCE = "every pixel of `I_s` leaves once, and no pixel of `I_t`"
_ADDRESS = "a pixel has the address of its kernel's first word, in its channel's slice"
_ENDS = "every channel ends once, and nothing leaves after the last one"


class PatternSchedulerHarness(Harness):
    """Pattern scheduler, of whose pixels any one is followed."""

    component = "PatternScheduler"
    sizes = f"maps of up to {_SIDE} x {_SIDE} pixels, any patterns of up to {_PERIOD} residues"
    constants = {_MODULE: {"MAX_PERIOD": _PERIOD, "SCHEDULER_LATENCY": 2 * _PERIOD + 2}}  # noqa: RUF012
    bounded = dict.fromkeys((_ORDER, _ONCE, _ADDRESS, _ENDS), _CYCLES)
    defects = (
        Defect(
            module=_MODULE,
            old="distance.data.gap.eq(Mux(self._pattern[-1], 1, gap + 1))",
            new="distance.data.gap.eq(Mux(self._pattern[-1], 1, gap + 2))",
            breaks=_ONCE,
        ),
        Defect(
            module=_MODULE,
            old="self._below, self.layer.residues[RESIDUE_BITS:], self.layer.period",
            new="self._below, 1, self.layer.period",
            breaks=_ONCE,
        ),
        Defect(
            module=_MODULE,
            old="with m.If(self._row + 1 == layer.height):",
            new="with m.If(self._row == layer.height):",
            breaks=_ORDER,
        ),
        Defect(
            module=_MODULE,
            old="self._row_base.eq(self._row_base + layer.row_step)",
            new="self._row_base.eq(self._row_base)",
            breaks=_ADDRESS,
        ),
        Defect(
            module=_MODULE,
            old="with m.If(self._channels_left == 1):",
            new="with m.If(self._channels_left == 0):",
            breaks=_ENDS,
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_MODULE)
        dut = module.PatternScheduler(_CONFIG)
        m.submodules.dut = dut
        state = elaborated(dut)
        ready = self.drive(dut.items.ready, "items_ready")
        item, leaves = dut.items.payload, dut.items.valid & ready

        # A layer stays the same from its start on, and starts when the one before has ended.
        left = Signal(range(4), name="left")  # channels that have not ended
        starts = self.free(1, "start_chosen") & (left == 0) & in_state(state, "IDLE")
        m.d.comb += dut.start.eq(starts)
        layer: Any = Signal(LayerDescriptor(_CONFIG), name="layer", reset_less=True)
        chosen: Any = self.free(layer.shape(), "layer_chosen")
        now: Any = Signal(layer.shape(), name="layer_now")
        m.d.comb += Value.cast(now).eq(Mux(starts, Value.cast(chosen), Value.cast(layer)))
        m.d.sync += layer.eq(now)
        m.d.comb += dut.layer.eq(now)
        residues = chosen.period
        legal: Value = (residues != 0) & (residues <= _PERIOD)
        for period in range(1, _PERIOD + 1):
            repeated = Cat(
                chosen.pattern[bit] == chosen.pattern[bit - period]
                for bit in range(period, 2 * _PERIOD)
            ).all()
            step = chosen.residues[RESIDUE_BITS:]
            legal &= (residues != period) | (
                repeated
                & chosen.pattern[:period].any()
                & (step < period)
                & (chosen.residues[:RESIDUE_BITS] == chosen.first_row * step % period)
            )
        self.assume(
            ~starts
            | (
                legal
                & (chosen.width != 0)
                & (chosen.width <= _SIDE)
                & (chosen.height != 0)
                & (chosen.height <= _SIDE)
                & (chosen.first_row <= chosen.height)
                & (chosen.restored == chosen.first_row * chosen.width)
                & (chosen.channels != 0)
                & (chosen.channels <= 2)
                & (chosen.slice_channels != 0)
            )
        )

        # The pixel that is followed, and what it must be.
        row, col = Signal(range(_SIDE), name="row"), Signal(range(_SIDE), name="col")
        with m.If(starts):
            m.d.sync += [
                row.eq(self.free(len(row), "row_chosen")),
                col.eq(self.free(len(col), "col_chosen")),
            ]
        exists = (row >= layer.first_row) & (row < layer.height) & (col < layer.width)
        of_row: Value = Const(0)
        for above in range(1, _SIDE):
            moved = of_row + layer.residues[RESIDUE_BITS:]
            moved = Mux(moved >= layer.period, moved - layer.period, moved)
            of_row = Mux(row >= above, moved, of_row)
        is_computed = exists & layer.pattern.bit_select((of_row + col)[:3], 1)
        index = (row * layer.width + col)[: len(item.pixel.index)]
        slice_base = Signal(len(item.pixel.base), name="slice_base")
        of_slice = Signal.like(layer.slice_channels, name="of_slice")
        base = slice_base + (row - layer.first_row) * layer.row_step + col * layer.col_step
        mine = leaves & ~item.end & exists & (item.pixel.index == index)
        seen = Signal(name="seen")
        first, before = Signal(init=1, name="first"), Signal.like(item.pixel.index, name="before")
        last_of_slice = of_slice + 1 == layer.slice_channels
        with m.If(leaves):
            m.d.sync += [
                seen.eq((seen | mine) & ~item.end),
                first.eq(item.end),
                before.eq(item.pixel.index),
                left.eq(left - item.end),
            ]
            with m.If(item.end):
                m.d.sync += of_slice.eq(Mux(last_of_slice, 0, of_slice + 1))
                with m.If(last_of_slice):
                    m.d.sync += slice_base.eq(slice_base + layer.slice_step)
        with m.If(starts):
            m.d.sync += [
                left.eq(chosen.channels),
                slice_base.eq(chosen.first_base),
                of_slice.eq(0),
            ]
        pixels = layer.height * layer.width
        self.prove(
            _ORDER,
            ~leaves
            | item.end
            | (
                (first | (item.pixel.index > before))
                & (item.pixel.index >= layer.restored)
                & (item.pixel.index < pixels)
            ),
        )
        self.prove(
            _ONCE,
            (~mine | (is_computed & ~seen)) & (~(leaves & item.end) | (seen == is_computed)),
        )
        self.prove(_ADDRESS, ~mine | (item.pixel.base == base[: len(item.pixel.base)]))
        self.prove(_ENDS, ~leaves | (left != 0))
        stream_is_stable(
            self, "items are stable", dut.items.valid, ready, item.pixel.index, item.end
        )
        self.cover("a layer of two channels ends", leaves & item.end & (left == 1) & ~first)
