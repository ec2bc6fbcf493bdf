"""A reset leaves nothing of what was before: a walk through the core's netlist."""

from __future__ import annotations

from typing import Any, cast

import pytest
from amaranth import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.core.core import Core
from tests.formal.resets import Register, registers_without_reset
from tests.hw.small_configs import TINY

OWN = {
    "cold": "the reset itself, a cycle late",
    "reset": "the reset itself, a cycle late",
    "silent": "0 while nothing runs, and nothing runs after a reset",
    "$signal": "`complete`, cleared at a start",
    "aborting": "cleared at a start",
    "window.$signal": "the check's pipeline, empty before the next start",
    "window.end": "the check's pipeline",
    "window.summed": "the check's pipeline",
    "window.wrong": "the check's pipeline",
    "window.refused": "the check's pipeline",
    "window.window": "the window, written anew at a start",
}
"""Registers of the core that have no reset although they are not declared so, and why."""

FLAGS = {
    "sequencer.copy": "enables a descriptor's words, which are taken before a tile begins",
    "sequencer.datapath.engine.array.copy": "selects among data",
    "sequencer.datapath.engine.ifm_buffer.copy": "selects among data",
    "sequencer.datapath.engine.predictor.copy": "an enable: it stands still a cycle at most",
    "sequencer.datapath.engine.predictor.over": "data of the hidden activation",
    "sequencer.datapath.engine.predictor.negative": "data of the hidden activation",
    "sequencer.datapath.ifm.assembler.copy": "selects among data",
}
"""Registers of one bit that are declared to have no reset, and why they need none."""


@pytest.fixture(scope="module")
def found() -> set[Register]:
    return registers_without_reset(Core(TINY))


@pytest.mark.second
def test_every_register_is_reset_that_is_not_declared_otherwise(
    found: set[Register],
) -> None:
    assert {register.name for register in found if not register.declared} == OWN.keys()


@pytest.mark.second
def test_the_flags_without_a_reset_are_known(found: set[Register]) -> None:
    flags = {register.name for register in found if register.declared and register.bits == 1}
    assert flags == FLAGS.keys()


class Counter(wiring.Component):
    """A register that is reset, if its domain is, and one that is declared to have no reset."""

    def __init__(self, *, reset_less: bool) -> None:
        self._reset_less = reset_less
        super().__init__({"count": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = cast(Any, ClockDomain("sync", reset_less=self._reset_less, local=True))
        kept = Signal(4, reset_less=True)
        m.d.sync += [kept.eq(self.count), self.count.eq(kept + 1)]  # type: ignore[attr-defined]
        return m


@pytest.mark.parametrize("reset_less", [False, True])
def test_a_register_that_is_not_reset_is_found(reset_less: bool) -> None:
    kept, count = Register("kept", 4, declared=True), Register("count", 4, declared=False)
    expected = {kept, count} if reset_less else {kept}
    assert registers_without_reset(Counter(reset_less=reset_less)) == expected
