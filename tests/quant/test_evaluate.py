"""The command runs ZAP, value prediction and feature-map pruning, alone and together."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from golden.bundle import Bundle
from golden.pattern import MASKS
from quant import evaluate
from quant.data.images import DatasetSource
from quant.data.registry import DATASETS
from quant.frontend.graph import Graph
from quant.points.operating_points import add_operating_point
from tests.commands import assert_refused
from tests.quant.dead_channels import IMAGES


@pytest.fixture
def saved(zap_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save the bundle with an adapted operating point, and register a dataset for it."""
    source = DatasetSource(zap_bundle.manifest.classes, IMAGES, IMAGES)
    monkeypatch.setitem(DATASETS, "tiny", lambda directory: source)
    point = {"conv3": (MASKS["B"], 0.2), "conv4": (MASKS["B"], 0.1)}
    scaled = {"layers.conv3.multiplier": zap_bundle.tensors["layers.conv3.multiplier"] // 2}
    adapted = Bundle(zap_bundle.manifest, zap_bundle.tensors | scaled)
    add_operating_point(zap_bundle, "mine", point, adapted).save(tmp_path / "bundle")
    return tmp_path / "bundle"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    everything = ["evaluate", *map(str, arguments), "--dataset", "tiny"]
    monkeypatch.setattr(sys, "argv", everything)
    evaluate.main()


def test_each_system_alone_and_together(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rows.json"
    options = ["--value-prediction", "2", "3", "--prune-epsilon", "0", "--point", "mine"]
    run(monkeypatch, saved, *options, "--pattern", "B", "--sigma", "0.1", "--json", file)
    rows = json.loads(file.read_text())["rows"]
    told = [(row["point"], row["sigma"], row["window"], row["epsilon"]) for row in rows]
    assert told == [
        ("dense", None, None, None),
        ("mine", None, None, None),
        ("B", 0.1, None, None),
        ("dense", None, None, 0),
        ("mine", None, None, 0),
        ("B", 0.1, None, 0),
        ("value-prediction", None, 2, None),
        ("value-prediction", None, 3, None),
    ]
    for plain, pruned in zip(rows[:3], rows[3:6], strict=True):
        assert plain["top1"] == pruned["top1"]
        assert plain["mac_reduction"] < pruned["mac_reduction"]
        assert plain["load_reduction"] == 0 < pruned["load_reduction"]
    assert 0 < rows[6]["mac_reduction"] < rows[7]["mac_reduction"]


def test_results_join_the_list(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "points.json"
    other: dict[str, object] = {"network": "other", "dataset": "tiny", "method": "zap", "drop": 0.5}
    other |= {"mac_reduction": 0.1}
    file.write_text(json.dumps([other]))
    options = ["--value-prediction", "2", "--prune-epsilon", "1", "--pattern", "B"]
    run(monkeypatch, saved, *options, "--sigma", "0.1", "--results", file)
    run(monkeypatch, saved, *options, "--sigma", "0.1", "--point", "mine", "--results", file)
    first, *added = json.loads(file.read_text())
    assert first == other
    assert [(row["method"], row["pattern"], row["budget"]) for row in added] == [
        ("feature-map-pruning", None, "epsilon 1"),
        ("zap+feature-map-pruning", "B", "sigma 0.1 epsilon 1"),
        ("value-prediction", None, "window 2"),
        ("zap+feature-map-pruning", "B", "mine epsilon 1"),
    ]
    for row in added:
        assert (row["network"], row["dataset"], row["images"]) == ("tiny", "tiny", 40)
        assert row["drop"] == row["int8_top1"] - row["top1"]
        assert row["recalibrated"] == (row["budget"] == "mine epsilon 1")
        assert not row["fine_tuned"]
        assert "--point mine" in row["command"]


def test_a_bundle_without_predictors_has_both_systems(
    plain_network: tuple[Graph, Bundle],
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain_network[1].save(tmp_path / "plain")
    file = tmp_path / "rows.json"
    run(monkeypatch, tmp_path / "plain", "--value-prediction", "4", "--json", file)
    dense, predicted = json.loads(file.read_text())["rows"]
    assert dense["mac_reduction"] == 0 < predicted["mac_reduction"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--value-prediction", "1"], "--value-prediction '1' is not an integer of 2 .. 16"),
        (["--value-prediction", "2", "x"], "--value-prediction 'x' is not an integer"),
        (["--prune-epsilon", "-1"], "--prune-epsilon '-1' is not an integer of 0 .. 255"),
        (["--prune-epsilon", "0.5"], "--prune-epsilon '0.5' is not an integer of 0 .. 255"),
        (["--prune-epsilon", "0", "--results", "LIST"], "is no list of operating points"),
        (["--prune-epsilon", "0", "--json", "LIST/rows.json"], "is not a folder"),
    ],
)
def test_what_is_refused(
    saved: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "list.json").write_text("{}")
    given = [option.replace("LIST", str(tmp_path / "list.json")) for option in options]
    assert_refused(evaluate.main, [saved, *given], message, monkeypatch, capsys)
