"""Known images are compared with enlarged ones and with test images, on a small network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench import known_images
from tests.commands import assert_refused
from tests.quant.test_choose import source

__all__ = ["source"]

pytestmark = pytest.mark.second


def test_enlarged_images_are_as_hard_as_is_asked_for(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "rows.json"
    arguments = [str(source), "--unseen-accuracy", "70", "--error", "1", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["known_images", *arguments])
    known_images.main()
    known, enlarged, test = json.loads(file.read_text())
    assert [row["images"] for row in (known, enlarged, test)] == ["known", "enlarged", "test"]
    assert known["count"] == enlarged["count"]
    assert known["accuracy"] > 70 >= enlarged["accuracy"]
    assert test["changed"] > 0
    assert "changed %" in capsys.readouterr().out


def test_an_accuracy_out_of_range_is_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: list[str | Path] = [source, "--unseen-accuracy", "100"]
    message = "--unseen-accuracy 100 is not a number in 0 .. 100"
    assert_refused(known_images.main, arguments, message, monkeypatch, capsys)
