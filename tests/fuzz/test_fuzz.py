"""Hostile inputs are taken or refused; `make fuzz` tries many more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.harness import run_target
from tests.fuzz.targets import TARGETS

SEED = 7


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_hostile_inputs(name: str, tmp_path: Path) -> None:
    outcome = run_target(TARGETS[name], tmp_path, 10, SEED)
    assert outcome.failures == {}
    assert outcome.inputs >= 10


@pytest.mark.second
@pytest.mark.parametrize("name", TARGETS)
def test_some_hostile_inputs(name: str, tmp_path: Path) -> None:
    outcome = run_target(TARGETS[name], tmp_path, 100, SEED + 1)
    assert outcome.failures == {}
    assert outcome.inputs >= 100


def test_what_is_neither_taken_nor_refused_is_counted(tmp_path: Path) -> None:
    def target(data: object, folder: Path) -> None:
        raise KeyError("a bug")

    outcome = run_target(target, tmp_path, 10, SEED)
    assert (outcome.failed, outcome.taken, outcome.refused) == (outcome.inputs, 0, 0)
    assert [place.split(":")[0] for place in outcome.failures] == [f"KeyError in {__file__}"]
