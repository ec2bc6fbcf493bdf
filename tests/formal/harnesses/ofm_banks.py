"""The ofm banks hand out what was stored in them, and zero for what was not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth import Const, Mux, Signal
from amaranth.hdl import Module, Value

from hw.contract.config import Config
from hw.engine.halo_rows import HaloRows
from hw.engine.ofm_drain import OfmDrain
from hw.layouts.descriptor import LayerDescriptor
from tests.formal.harness import Defect, Harness, elaborated
from tests.hw.small_configs import TINY

__all__ = ["OfmBanksHarness"]

_MODULE = "hw.engine.ofm_banks"
_CONFIG = replace(TINY, ofm_words=16)
_HOLDS = "a word that is read is what was stored since its bank was drained, or zero"
_MEMORY = "a word that is read is the one that was written last, or cleared"
_DRAINED = "a bank is drained once for each time it is to leave, and the two take turns"


class AnyDrain(OfmDrain):
    """A drain that reads at any pace: each pixel once where there is no pooling, else any pixels.

    `WindowWalkHarness` proves that of the drain's walk.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.takes, self.ends = Signal(name="takes"), Signal(name="ends")
        self.chosen = Signal(len(self.address), name="chosen")
        self.passes = Signal(name="passes")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reads, place = Signal(), Signal(len(self.address))
        last = Mux(self.passes, self.ends, place == self.layer.pixels - 1)
        m.d.comb += [
            self.read.eq(reads & self.takes),
            self.address.eq(Mux(self.passes, self.chosen, place)),
            self.idle.eq(~reads & ~self.done),
        ]
        m.d.sync += self.done.eq(self.read & last)
        with m.If(self.read):
            m.d.sync += place.eq(place + 1)
            with m.If(last):
                m.d.sync += reads.eq(0)
        with m.If(self.go & ~reads & ~self.done):
            m.d.sync += [reads.eq(1), place.eq(0)]
        return m


class AnyHalo(HaloRows):
    """Halo rows that may come at any time; `OfmBanksHarness` says where they go."""

    def elaborate(self, platform: object) -> Module:
        return Module()


class OfmBanksHarness(Harness):
    """Ofm banks, of which one bit at any one place is followed."""

    component = "OfmBanks"
    sizes = f"2 banks of {_CONFIG.ofm_words} words; one bit of a word stands for all"
    defects = (
        Defect(
            module=_MODULE,
            old="follows.eq(drain.read & ~passes)",
            new="follows.eq(0)",
            breaks=_HOLDS,
        ),
        Defect(
            module=_MODULE,
            old="with m.If(passing & (pass_index == layer.pixels - 1)):",
            new="with m.If(passing & (pass_index == layer.pixels - 2)):",
            breaks=_HOLDS,
        ),
        Defect(
            module=_MODULE,
            old="stored.ready.eq(~(self.write & (self.write_bank == stored.payload.bank)))",
            new="stored.ready.eq(1)",
            breaks=_HOLDS,
        ),
        Defect(
            module=_MODULE,
            old="with m.If(clearing & (pass_index == self._config.ofm_words - 1)):",
            new="with m.If(clearing & (pass_index == self._config.ofm_words - 2)):",
            breaks=_HOLDS,
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_MODULE)
        drains = self.stand_in(module, "OfmDrain", AnyDrain)
        halos = self.stand_in(module, "HaloRows", AnyHalo)
        banks = self.observed_memories(module)
        signals = self.named_signals(module)
        dut = module.OfmBanks(_CONFIG)
        m.submodules.dut = dut
        elaborated(dut)
        (drain,), (halo,) = drains, halos
        start = self.drive(dut.start, "start")
        asks = self.drive(dut.drain, "drain")
        write = self.drive(dut.write, "write")
        for name in ("write_bank", "write_lane", "write_index", "value"):
            self.drive(getattr(dut, name), name)
        for port, name in ((drain.takes, "takes"), (drain.ends, "ends"), (drain.chosen, "chosen")):
            self.drive(port, name)
        self.drive(halo.writes.valid, "halo_valid")
        self.drive(halo.writes.payload, "halo_payload")

        # A layer starts when the one before has left, and stays the same.
        layer: Any = Signal(LayerDescriptor(_CONFIG), name="layer", reset_less=True)
        chosen: Any = self.free(layer.shape(), "layer_chosen")
        running = Signal(name="running")
        waiting = Signal(range(3), name="waiting_banks")
        leaves = Signal(name="leaves")  # the bank that leaves next
        m.d.sync += [waiting.eq(waiting + asks - dut.drained), leaves.eq(leaves ^ dut.drained)]
        with m.If(start):
            m.d.sync += [layer.eq(chosen), running.eq(1), leaves.eq(0)]
        m.d.comb += dut.layer.eq(layer)
        self.assume(~start | ((chosen.pixels != 0) & (chosen.pixels <= _CONFIG.ofm_words)))
        self.assume(~start | (dut.ready & dut.idle & (waiting == 0) & ~asks))
        self.assume(~asks | (running & (waiting < 2)))
        # Every bank in which something is stored leaves before the layer ends.
        holds = Signal(2, name="holds")
        self.assume(~start | (holds == 0))
        passes = layer.pool.pooled | (layer.restored != 0) | (layer.spilled != 0)
        m.d.comb += drain.passes.eq(passes)

        # Nothing is stored in a bank that leaves, waits to leave, or is to leave from now on.
        fills = leaves ^ waiting[0]  # the next to be filled
        stored: Value = Const(0, 2)
        for stores, bank, index in (
            (write, dut.write_bank, dut.write_index),
            (halo.writes.valid, halo.writes.payload.bank, halo.writes.payload.index),
        ):
            is_open = running & ~start & (waiting < 2) & ((waiting == 0) | (bank == fills))
            self.assume(~stores | (is_open & ~asks & (index < layer.pixels)))
            stored |= Mux(stores, Value.cast(1 << bank), 0)
        m.d.sync += holds.eq((holds & ~Mux(dut.drained, 1 << leaves, 0)) | stored)

        followed = Signal(range(_CONFIG.ofm_words), name="followed", reset_less=True)
        in_bank = Signal(name="followed_bank", reset_less=True)
        # It is picked in the first cycle, when every word is zero.
        picked = Signal(name="picked", reset_less=True)
        m.d.sync += picked.eq(1)
        with m.If(~picked):
            m.d.sync += [
                followed.eq(self.free(len(followed), "followed_chosen")),
                in_bank.eq(self.free(1, "bank_chosen")),
            ]
        content = Signal(name="content")
        with m.If(dut.drained & (leaves == in_bank)):
            m.d.sync += content.eq(0)
        halo_word = halo.writes.payload
        restores = halo.writes.valid & halo.writes.ready
        with m.If(restores & (halo_word.bank == in_bank) & (halo_word.index == followed)):
            m.d.sync += content.eq(halo_word.word[0])
        with m.If(
            write
            & (dut.write_bank == in_bank)
            & (dut.write_index == followed)
            & (dut.write_lane == 0)
        ):
            m.d.sync += content.eq(dut.value[0])
        reads = drain.read & (drain.address == followed) & (leaves == in_bank)
        cell, in_memory = self._cell(dut, halo, followed, in_bank)
        for bank in banks:
            m.d.comb += bank.observes.addr.eq(followed)
        write_ports = [bank.writes[0] for bank in banks]
        observed = Mux(in_bank, banks[1].observes.data[0], banks[0].observes.data[0])
        about_to = [
            Mux(port.en[0] & (port.addr == followed), port.data[0], in_memory)
            for port in write_ports
        ]
        read = self.register(reads)
        self.prove(
            _MEMORY,
            (observed == in_memory)
            & (cell == Mux(in_bank, about_to[1], about_to[0]))
            & (~self.register(read) | (drain.word[0] == self.register(self.register(in_memory)))),
        )
        # A word that is read without pooling is zero from then on.
        first = ~self._read_before(reads, dut.drained | start)
        self.prove(
            _HOLDS,
            (~reads | ~(first | passes) | (in_memory == content))
            & (~self.register(self.register(dut.drained & (leaves == in_bank))) | ~in_memory),
        )
        self.prove(
            _DRAINED,
            (~dut.drained | (waiting != 0)) & (signals["waiting"] == waiting),
        )
        self.cover("a word of a bank is read", reads & content & ~passes)
        self.cover("a word of a bank is read that is pooled", reads & content & passes)

    def _cell(
        self, dut: Any, halo: AnyHalo, followed: Signal, in_bank: Signal
    ) -> tuple[Signal, Signal]:
        """The followed bit as it will be and as it is in its memory, whose port has a register.

        A reset leaves it as it is.
        """
        m = self.m
        cell = Signal(name="cell", reset_less=True)
        clears = dut._clear & dut._clear_banks.bit_select(in_bank, 1)
        stored = halo.writes.payload
        result_hits = (dut.write_index == followed) & (dut.write_lane == 0)
        halo_hits = halo.writes.valid & (stored.bank == in_bank) & (stored.index == followed)
        from_halo = Mux(halo_hits, stored.word[0], cell)
        from_result = Mux(result_hits, dut.value[0], cell)
        to_bank = dut.write & (dut.write_bank == in_bank)
        cleared = Mux(dut._clear_index == followed, 0, cell)
        with m.If(~self.reset):
            m.d.sync += cell.eq(Mux(clears, cleared, Mux(to_bank, from_result, from_halo)))
        in_memory = Signal(name="in_memory", reset_less=True)
        m.d.sync += in_memory.eq(cell)
        return cell, in_memory

    def _read_before(self, reads: Value, ends: Value) -> Signal:
        """The followed word was read already since its bank began to leave."""
        before = Signal(name="read_before")
        with self.m.If(reads):
            self.m.d.sync += before.eq(1)
        with self.m.If(ends):
            self.m.d.sync += before.eq(0)
        return before
