"""The core's programs of `tests.hw.core.scenarios` come out as they must, to the cycle."""

from __future__ import annotations

import pytest

from tb.runs import core
from tests.hw.core.scenarios import MIXED, scenarios, verify


@pytest.mark.second
@pytest.mark.sim
def test_every_scenario_comes_out_as_counted() -> None:
    built = core.build(MIXED, "verilator")
    for scenario in scenarios():
        verify(scenario, core.run(built, scenario.runs))
