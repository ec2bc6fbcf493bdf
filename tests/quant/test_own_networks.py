"""Every command takes a network, images and a bundle that are not built in."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import zap_training
from golden.bundle import Bundle
from quant import choose, evaluate, export, zap_precision
from tests.commands import assert_refused
from tests.quant.tiny_networks import images

NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes=3):
        super().__init__(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU(),
            nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(8 * 2 * 2, num_classes))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Export a network of a file, with images in arrays; leave its ZAPs in zaps.pt."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("net.py").write_text(NETWORK)
        pixels = images(600, (1, 10, 10)).images.numpy()
        brightness = pixels[:, 0, 2:8, 2:8].mean((1, 2))
        labels = np.digitize(brightness, np.quantile(brightness, [0.33, 0.67]))
        np.savez("images.npz", images=pixels, labels=labels)
        np.savez("unlabelled.npz", images=pixels)
        run(
            patch,
            export.main,
            *["--model", "net.py:Net", "--dataset", "images.npz", "--train"],
            *["--zap-epochs", "1", "--save-zaps", "zaps.pt", "--out", "bundle"],
        )
        yield folder
    torch.use_deterministic_algorithms(False)


def run(monkeypatch: pytest.MonkeyPatch, main: Callable[[], object], *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    main()


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_the_bundle_remembers_images_and_dropout(folder: Path) -> None:
    provenance = Bundle.load(folder / "bundle").manifest.provenance
    assert provenance["dataset"] == "images.npz"
    assert provenance["dropout"] == "8=0.5"


def test_operating_points_are_adapted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle says where its images are; there are fewer than the statistics ask for."""
    options = ["bundle", "--mac-reduction", "0.1", "--recalibrate", "--fine-tune", "1"]
    run(monkeypatch, choose.main, *options, "--out", "points")
    (_, point) = Bundle.load(folder / "points").manifest.operating_points
    assert point.name == "mac-reduction-0.1-fine-tuned"
    assert "weight" in point.adapted["4"]
    assert point.measured is not None
    assert point.measured.images == 120


def test_zaps_are_compared_in_float_and_in_fewer_bits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["bundle", "--zaps", "zaps.pt", "--bits", "4", "--json", "rows.json"]
    run(monkeypatch, zap_precision.main, *options, "--dataset", "unlabelled.npz")
    rows = json.loads(Path("rows.json").read_text())["rows"]
    assert [(row["bits"], row["dataset"]) for row in rows] == [
        ("float", "unlabelled.npz"),
        ("4", "unlabelled.npz"),
    ]
    shown = " ".join(capsys.readouterr().out.split())
    assert "same class %" in shown
    assert "top-1" not in shown


def test_the_cost_of_training_zaps_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, zap_training.main, "bundle", "--images", "32", "--repeats", "1")
    assert "net-Net, 32 images, 2 ZAPs" in capsys.readouterr().out


def test_images_without_labels_are_compared_with_the_float_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's network has random weights, so the bundle's trained one rarely agrees with it."""
    options = ["bundle", "--dataset", "unlabelled.npz", "--json", "rows.json"]
    agreement = []
    for model in ([], ["--model", "net.py:Net"]):
        run(monkeypatch, evaluate.main, *options, *model)
        agreement.append(json.loads(Path("rows.json").read_text())["rows"][0]["top1"])
    assert agreement[0] == 100
    assert agreement[1] < 80


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "zaps.pt"], "--weights go with --model"),
        (["--model", "digits"], "--model digits: give its --weights"),
        (["--model", "net.py:Gone"], "net.py: has no Gone; it has Net"),
        (["--dataset", "elsewhere"], "dataset 'elsewhere': neither a folder, nor a FILE.npz"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: list[str | Path],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(evaluate.main, ["bundle", *options], message, monkeypatch, capsys)
