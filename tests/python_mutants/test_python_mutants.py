"""Defects for mutmut are drawn from every file, and what is said about them stays true."""

from __future__ import annotations

import json

import pytest

from tb.paths import REPOSITORY
from tests.python_mutants import __main__ as command


def test_the_drawn_defects_are_from_every_module_and_always_the_same() -> None:
    results: dict[str, int | None] = {
        f"golden.{module}.x_f__mutmut_{n}": n % 2
        for module, count in (("layers", 90), ("pattern", 9))
        for n in range(count)
    }
    drawn = command._draw(results, 22, 1)
    assert drawn == command._draw(results, 22, 1)
    assert drawn.items() <= results.items()
    assert sum(name.startswith("golden.pattern.") for name in drawn) == 2


def test_every_file_and_test_that_is_named_exists() -> None:
    for name in (*command.FILES, *command.TESTS):
        assert (REPOSITORY / name).exists(), name


def test_every_equivalent_defect_is_of_a_file_and_has_a_reason() -> None:
    for defect, reason in json.loads(command.EQUIVALENT.read_text()).items():
        assert defect.split()[0] in command.FILES, defect
        assert len(reason) > 20, defect


def test_a_defect_that_survives_without_a_reason_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"golden.layers.x_f__mutmut_1": "golden/layers.py `a` -> `b`"}
    monkeypatch.setattr(command, "_said", said.__getitem__)
    results: dict[str, int | None] = {
        "golden.layers.x_f__mutmut_1": 0,
        "golden.layers.x_f__mutmut_2": 1,
    }
    assert command._report(results) == 1
    assert "not found: golden.layers.x_f__mutmut_1: golden/layers.py `a` -> `b`" in (
        capsys.readouterr().out
    )
