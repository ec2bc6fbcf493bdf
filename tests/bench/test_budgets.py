"""The command counts budgets that were kept, and leaves out what promised nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench import budgets
from golden.errors import UserError

POINT = {
    "network": "net",
    "dataset": "images",
    "method": "zap",
    "mac_reduction": 0.2,
    "images": 1000,
    "predicted_drop": 1.0,
    "predicted_deviation": 0.1,
    "deviation": 0.25,
}
ENTRIES = [
    POINT | {"budget": "max-drop 1", "drop": 1.2},
    POINT | {"budget": "max-drop 0.5", "drop": 0.8},
    POINT | {"budget": "max-drop 2", "drop": 1.0, "recalibrated": True},
]
NO_PROMISE = [
    POINT | {"budget": "max-drop 1", "drop": 9.0, "fine_tuned": True},
    POINT | {"budget": "mac-reduction 0.2", "drop": 9.0},
    POINT | {"budget": "max-drop 1", "drop": 9.0, "deviation": None},
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["budgets", *arguments])
    budgets.main()


def test_small_test_sets_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "points.json"
    file.write_text(json.dumps([ENTRIES[0], ENTRIES[1] | {"images": 999}]))
    run(monkeypatch, str(file), "--fewest-images", "1000")
    assert "1 of 1 budgets kept (100 %)" in capsys.readouterr().out


def test_kept_budgets_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, table = tmp_path / "points.json", tmp_path / "budgets.txt"
    file.write_text(json.dumps([*ENTRIES, *NO_PROMISE]))
    run(monkeypatch, str(file), "--table", str(table))
    printed = capsys.readouterr().out
    assert table.read_text() == printed
    assert "2 of 3 budgets kept (67 %) on 1 networks; lost / budget 1.10 in the mean" in printed
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [row[-1] for row in cells] == ["yes", "no", "yes"]
    assert cells[1][4:8] == ["0.5", "0.80 ± 0.10", "0.80 ± 0.25", "0.75"]


def test_a_list_without_promises_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "points.json"
    file.write_text(json.dumps(NO_PROMISE))
    with pytest.raises(UserError, match=r"no operating points of quant\.choose --max-drop with a"):
        run(monkeypatch, str(file))
