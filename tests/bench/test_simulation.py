"""`python -m bench.simulation` gives no figures of a build that differs, and the best rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import simulation
from tb.exchange.core_files import Outcome
from tb.simulators.build import Build
from tb.simulators.errors import SimulationError


def an_outcome(seconds: float = 0.5) -> Outcome:
    return Outcome(
        output=np.array([3, 1, 2], np.int32),
        other_outputs={},
        memory=np.arange(64, dtype=np.uint8),
        totals={"elapsed": 1000},
        layers=[{"elapsed": 1000, "skipped": 4}],
        seconds=10.0,
        cpu_seconds=seconds,
        violations=0,
        observed={"elapsed": 1002},
    )


def a_build(name: str) -> Build:
    return Build(
        sim="verilator",
        toplevel="top",
        directory=Path(name),
        waves=False,
        cached=True,
        seconds=0.0,
    )


def another_byte(outcome: Outcome) -> Outcome:
    memory = outcome.memory.copy()
    memory[-1] ^= 1
    return replace(outcome, memory=memory)


@pytest.mark.parametrize(
    "change",
    [
        another_byte,
        lambda outcome: replace(outcome, output=outcome.output + 1),
        lambda outcome: replace(outcome, totals={"elapsed": 1001}),
        lambda outcome: replace(outcome, layers=[{"elapsed": 1000, "skipped": 5}]),
        lambda outcome: replace(outcome, observed={"elapsed": 1003}),
    ],
)
def test_builds_that_differ_have_no_figures(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Outcome], Outcome]
) -> None:
    fine = [an_outcome(), an_outcome()]
    found = {"quick": fine, "long": [fine[0], change(fine[1])]}
    monkeypatch.setattr(simulation.core, "run", lambda built, _runs: found[built.directory.name])
    with pytest.raises(SimulationError, match="image 1: the two builds differ"):
        simulation._rates([a_build("quick"), a_build("long")], [], 1)


def test_each_build_is_judged_by_its_best_round(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.5, 0.25, 0.4, 0.5, 1.0, 0.2])
    monkeypatch.setattr(simulation.core, "run", lambda *_: [an_outcome(next(seconds))])
    outcomes, rates = simulation._rates([a_build("quick"), a_build("long")], [], 3)
    assert [outcome.totals for outcome in outcomes] == [{"elapsed": 1000}]
    assert rates == [2500, 5000]
    assert simulation.Rates("net", "small", 1000, 2500, 5000).ratio == 2
