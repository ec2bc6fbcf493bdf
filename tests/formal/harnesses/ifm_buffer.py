"""The ifm buffer keeps every word that is written, and gives it to every PE, while it is read."""

from __future__ import annotations

from dataclasses import replace

from amaranth import Mux, Signal
from amaranth.hdl import Fragment

from hw.contract.timing import BUFFER_READ_LATENCY
from tests.formal.harness import Defect, Harness, progress
from tests.hw.small_configs import TINY

__all__ = ["IfmBufferHarness"]

_MODULE = "hw.engine.buffers"
_CONFIG = replace(TINY, ifm_words=16)
_LANE = 5
"""The byte of a word that is followed; one bit of it stands for all."""
_SETTLES = 3
"""Cycles from where a write leaves its register until every read finds it."""
_HOLDS = "PE {}: a word that is read is the one that was written last"
_TAKEN = "a write is taken soon where its bank's shared port is not read"


class IfmBufferHarness(Harness):
    """Ifm buffer, of which one bit at any one address is followed."""

    component = "IfmBuffer"
    sizes = f"{_CONFIG.pes} PEs, 2 banks of {_CONFIG.ifm_words // 2} words; one bit stands for all"
    defects = (
        Defect(
            module=_MODULE,
            old="waits.eq(held & taken_port)",
            new="waits.eq(0)",
            breaks=_HOLDS.format(0),
        ),
        Defect(
            module=_MODULE,
            old="following = Mux(waits, bank, self.writes.payload.address.xor())",
            new="following = self.writes.payload.address.xor()",
            breaks=_HOLDS.format(1),
        ),
        Defect(
            module=_MODULE,
            old="taken_port = busy.bit_select(following, 1)",
            new="taken_port = busy.any()",
            breaks=_TAKEN,
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_MODULE)
        signals = self.named_signals(module)
        dut = module.IfmBuffer(_CONFIG)
        m.submodules.dut = Fragment.get(dut, None)
        valid = self.drive(dut.writes.valid, "writes_valid")
        write = self.drive(dut.writes.payload, "writes_payload")
        reading = self.drive(dut.reading, "reading")
        addresses = [
            self.drive(dut.address[place], f"address_{place}") for place in range(_CONFIG.pes)
        ]
        enters = valid & dut.writes.ready

        # The address that is followed, and the bit that it holds: unknown until it is written.
        followed = Signal(len(write.address), name="followed", reset_less=True)
        with m.If(self.reset):
            m.d.sync += followed.eq(self.free(len(followed), "chosen"))
        known, bit = Signal(name="known"), Signal(name="bit")
        since = Signal(range(_SETTLES + 2), name="since")
        hits = enters & (write.address == followed) & write.mask[_LANE]
        mine, waits = Signal(name="mine"), signals["waits"]
        m.d.sync += mine.eq(hits | (mine & waits))
        with m.If(hits):
            m.d.sync += [known.eq(1), bit.eq(write.word[8 * _LANE])]
        m.d.sync += since.eq(
            Mux(hits | (mine & waits), 0, Mux(since == _SETTLES + 1, since, since + 1))
        )
        settled = known & (since >= _SETTLES) & ~hits
        for place, address in enumerate(addresses):
            read = reading & (address == followed) & settled
            asked = [read]
            for _ in range(BUFFER_READ_LATENCY):
                asked.append(self.register(asked[-1]))
            # A write that comes soon after the read may be seen, or not.
            newly = self.register(hits)
            undisturbed = ~hits & ~newly
            for _ in range(BUFFER_READ_LATENCY):
                undisturbed = self.register(undisturbed) & ~hits & ~newly
            self.prove(
                _HOLDS.format(place),
                ~(asked[-1] & undisturbed) | (dut.word[place][8 * _LANE] == bit),
            )
        shared = reading & (addresses[0].xor() == signals["bank"])
        progress(
            self,
            _TAKEN,
            favourable=waits & ~shared & ~self.register(shared),
            event=dut.writes.ready,
            cycles=3,
        )
        self.cover("a write waits", waits & self.register(waits))
