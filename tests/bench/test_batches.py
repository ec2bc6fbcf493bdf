"""The command about batches: from the model, for networks by name and for a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import batches
from tests.commands import assert_refused

BUNDLE = Path("examples/bundles/vgg16-cifar-quarter")


def test_a_bundle_is_told_what_each_image_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "batches.json"
    arguments = ["vgg16-cifar-quarter", "--batch", "1", "4", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["batches", *arguments])
    batches.main()
    one, four = json.loads(out.read_text())
    assert (one["images"], four["images"]) == (1, 4)
    assert one["left_out"] == []
    assert four["left_out"][-1] == "features.40"
    assert four["on"] < 0.85 * one["on"]
    assert four["off"] < one["off"]
    assert four["images_a_second"] == pytest.approx(four["clock_mhz"] * 1e6 / four["on"], rel=1e-4)
    assert f"{four['on']:,}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--bundle", str(BUNDLE)], "digits: give either names or a --bundle"),
        (["--point", "best"], "--point is for a --bundle"),
        (["lenet"], "no network 'lenet'"),
        (["--batch", "0"], "--batch"),
        (["--batch", "65"], "--batch"),
    ],
)
def test_what_is_not_clear_is_refused(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(batches.main, arguments, message, monkeypatch, capsys)
