"""The command compares float ZAPs with quantised ones, and refuses other files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from golden.bundle import Bundle
from golden.pattern import MASKS
from quant import zap_precision
from quant.data.registry import load
from quant.zap.predictor import Site
from quant.zap.saved_zaps import save_zaps
from quant.zap.training import train_zaps
from tests.commands import assert_refused
from tests.quant.tiny_networks import images, quickly_trained, tiny_bundle, tiny_module

IMAGES = images(64)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle(tiny_module(), IMAGES)[1]


def test_the_command_compares_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, bundle = quickly_trained(3, 200)
    sites = [Site(layer.name, MASKS["B"]) for layer in graph.zap_sites()]
    save_zaps(
        train_zaps(bundle, sites, load("digits", None).train, epochs=4, seed=0),
        tmp_path / "zaps.pt",
    )
    bundle.save(tmp_path / "bundle")
    arguments = [tmp_path / "bundle", "--zaps", tmp_path / "zaps.pt", "--json", tmp_path / "j"]
    options = ["--sigma", "0.2", "--bits", "8", "2"]
    monkeypatch.setattr("sys.argv", ["zap_precision", *map(str, arguments), *options])
    zap_precision.main()
    exact, eight, two = json.loads((tmp_path / "j").read_text())["rows"]
    assert [row["bits"] for row in (exact, eight, two)] == ["float", "8", "2"]
    assert exact["mac_reduction"] > 0.02
    coarse, fine = (abs(row["mac_reduction"] - exact["mac_reduction"]) for row in (two, eight))
    assert fine < coarse / 2


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "zaps.pt: not found; quant/export.py --save-zaps writes it"),
        (b"no pickle", [], "zaps.pt: holds no ZAPs of this network"),
        ({"other.B": {}}, [], "zaps.pt: holds no ZAPs of this network: 'other'"),
        ({}, ["--pattern", "C"], "zaps.pt: has no ZAPs for pattern C"),
        ({}, ["--json", "."], ".: exists and is not a file"),
    ],
)
def test_other_files_are_refused(
    content: object,
    options: list[str],
    message: str,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle.save(tmp_path / "bundle")
    file = tmp_path / "zaps.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    arguments = [str(tmp_path / "bundle"), "--zaps", str(file), *options]
    assert_refused(zap_precision.main, arguments, message, monkeypatch, capsys)
