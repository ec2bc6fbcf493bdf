"""The command writes bundles of networks that nobody trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from golden.bundle import Bundle
from quant import untrained
from tests.commands import assert_refused


def test_it_writes_the_bundle_of_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--model", "resnet20", "--seed", "5", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["untrained", *arguments])
    untrained.main()
    provenance = Bundle.load(tmp_path / "out").manifest.provenance
    assert provenance == {"model": "resnet20", "dataset": "textures-32", "seed": 5}


def test_a_directory_that_is_no_bundle_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("precious")
    options: list[str | Path] = ["--model", "vgg16", "--out", tmp_path]
    message = f"{tmp_path}: exists and is not a bundle"
    assert_refused(untrained.main, options, message, monkeypatch, capsys)
