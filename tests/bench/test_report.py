"""The report shows everything that was measured and names everything that it leaves out."""

from __future__ import annotations

import csv
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.fpga_results import ASSUMED_MHZ, find_build
from bench.report import __main__ as report
from bench.report.cycles import layer_cycles
from bench.report.observe import Observation, observe
from bench.report.ofms import Decision
from bench.report.points import estimate, read, series
from bench.report.table import published, table
from bench.report.whole import whole_networks
from compiler.costs import NetworkCosts
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import ConvResult, Counters
from golden.network import Network, quantise_images
from golden.pattern import MASKS
from hw.contract.config import PRESETS, Config
from quant.data.images import DatasetSource
from quant.data.registry import DATASETS
from quant.points.evaluation import evaluate
from quant.points.operating_points import add_operating_point
from quant.points.results import MeasuredPoint
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.commands import assert_refused
from tests.quant.tiny_networks import images, tiny_bundle, tiny_module

TRAIN, TEST = images(150), images(60, seed=1)
ROW = {
    "network": "alexnet-tiny",
    "dataset": "noise",
    "method": "zap",
    "pattern": "A+B",
    "budget": "max-drop 1",
    "predicted_drop": 1.0,
    "drop": 0.8,
    "predicted_mac_reduction": 0.30,
    "mac_reduction": 0.31,
    "recalibrated": True,
    "fine_tuned": False,
    "float_top1": 60.1,
    "int8_top1": 60.0,
    "top1": 59.2,
    "images": 60,
    "command": "python -m quant.choose",
}
CHOSEN = ROW | {"budget": "max-drop 2", "drop": 2.1, "error": 0.2, "line": [[0.1, 1.0], [0.3, 3.0]]}


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset `noise` that needs no files."""
    monkeypatch.setitem(DATASETS, "noise", lambda _: DatasetSource(list("01234"), TRAIN, TEST))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with predictors in two of its layers and one operating point."""
    _, bare = tiny_bundle(tiny_module(), TRAIN)
    sites = [Site("conv2", MASKS["B"]), Site("conv2", MASKS["D"]), Site("conv3", MASKS["D"])]
    whole = add_zaps(bare, train_zaps(bare, sites, TRAIN, epochs=2, seed=0), TRAIN)
    choices = {"conv2": (MASKS["B"], 0.6), "conv3": (MASKS["D"], 0.4)}
    whole = add_operating_point(whole, "some", choices)
    manifest = whole.manifest.model_copy(update={"provenance": {"dataset": "noise"}})
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    Bundle(manifest, whole.tensors).save(path)
    return path


@pytest.fixture
def observed(bundle: Path, noise: None) -> Observation:
    return observe(bundle, None, None, images=1000)


def results(folder: Path, *rows: dict) -> Path:
    """A results file of these rows."""
    file = folder / "points.json"
    file.write_text(json.dumps(rows))
    return file


def make(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str | Path) -> str:
    """Run the command; return the page."""
    arguments = [*map(str, options), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    report.main()
    return (out / "index.html").read_text()


def records(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_layers_are_counted_as_evaluation_counts_them(observed: Observation, bundle: Path) -> None:
    network, predictors = Bundle.load(bundle).at("some")
    tallies = {t.name: t for t in evaluate(network, predictors, TEST).layers}
    assert [layer.name for layer in observed.layers] == ["conv1", "conv2", "conv3", "conv4"]
    assert [layer.zap for layer in observed.layers] == [False, True, True, False]
    assert observed.images == len(TEST)
    for layer in observed.layers:
        tally = tallies[layer.name]
        assert layer.activations == tally.activations
        assert layer.skipped.sum() == tally.skipped
        assert layer.wrong == tally.wrong
        if layer.zap:
            assert layer.wrong > 0
            assert layer.predicted.sum() == tally.skipped + tally.kept


def test_zeros_are_those_of_the_network_without_zap(observed: Observation, bundle: Path) -> None:
    network = Bundle.load(bundle)
    inputs = quantise_images(network, TEST.pixels(slice(None)))
    ofms = {step.node.name: step.ofm for step in Network(network).steps(inputs)}
    for layer in observed.layers:
        assert layer.zeros == int((ofms[layer.name] == 0).sum())


def test_an_activation_is_of_one_kind() -> None:
    dense = torch.tensor([[[[5, 0, 7], [0, 3, 0]]]])
    keep = torch.tensor([[[[True, True, True], [False, True, False]]]])
    keep[0, 0, 0, 1] = False
    dense[0, 0, 1, 2] = 9
    computed = torch.from_numpy(MASKS["B"].mask(2, 3))
    result = ConvResult(dense, computed, None, keep, dense * keep, Counters(3, 0, 3))
    kinds = Decision("conv", MASKS["B"], result).kinds()
    assert kinds.tolist() == [[0, 2, 0], [2, 0, 3]]
    keep[0, 0, 1, 0] = True
    assert Decision("conv", MASKS["B"], result).kinds()[1, 0] == 1


def test_estimates_are_judged_where_they_would_be_used() -> None:
    rows = [
        ROW,  # off by 0.2 points and 1 %
        ROW | {"drop": 1.5, "mac_reduction": 0.27},  # by 0.5 points and 3 %
        ROW | {"drop": 3.01, "mac_reduction": 0.9},
        ROW | {"predicted_drop": None, "mac_reduction": 0.9},
    ]
    found = estimate([MeasuredPoint.model_validate(row) for row in rows])
    assert found is not None
    assert found.points == 2
    assert found.drop == pytest.approx(0.35)
    assert found.mac_reduction == pytest.approx(0.02)
    assert estimate([MeasuredPoint.model_validate(rows[2])]) is None


def test_results_and_sweeps_are_read_together(tmp_path: Path) -> None:
    row = {"top1": 58.0, "drop": 2.0, "mac_reduction": 0.1, "images": 60}
    sweep = {
        "command": "python -m quant.evaluate",
        "network": "alexnet-tiny",
        "dataset": "noise",
        "provenance": {"float_top1": 60.1},
        "rows": [
            {"point": "dense", "sigma": None, "top1": 60.0, "drop": 0, "mac_reduction": 0},
            row | {"point": "C", "sigma": 0.2},
            row | {"point": "C", "sigma": 0.2, "epsilon": 1},
            row | {"point": "max-drop-1", "sigma": None},
        ],
    }
    (tmp_path / "tiny_patterns.json").write_text(json.dumps(sweep))
    first, second, third = read(results(tmp_path, ROW | {"unknown": 1}, CHOSEN))
    assert (first.error, first.line) == (None, None)
    assert (second.error, second.line) == (0.2, ((0.1, 1.0), (0.3, 3.0)))
    assert (third.method, third.pattern, third.budget) == ("zap-uniform", "C", "sigma 0.2")
    assert (third.int8_top1, third.top1, third.tuning) == (60.0, 58.0, "as trained")
    assert [len(group) for group in series([first, second, third])] == [2, 1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW | {"drop": None}, "points.json: entry 1: drop: "),
        (ROW | {"mac_reduction": "much"}, "points.json: entry 1: mac_reduction: "),
        ({"network": "other"}, "points.json: entry 1: dataset: "),
        (ROW | {"line": [[1.0]]}, "points.json: entry 1: line.0.1: "),
    ],
)
def test_entries_that_are_no_operating_points_are_refused(
    row: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read(results(tmp_path, ROW, row))


def test_a_sweep_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny_patterns.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match=r"tiny_patterns\.json: not what quant\.evaluate --json"):
        read(results(tmp_path, ROW))


def test_table_1_has_the_best_point_within_each_limit() -> None:
    rows = [
        ROW,
        ROW | {"drop": 0.9, "mac_reduction": 0.29},
        ROW | {"drop": 2.5, "mac_reduction": 0.40},
        ROW | {"method": "zap-uniform", "pattern": "A", "drop": 0.4, "mac_reduction": 0.1},
        ROW | {"method": "zap-uniform", "pattern": "D", "drop": 0.3, "mac_reduction": 0.2},
    ]
    section = table([MeasuredPoint.model_validate(row) for row in rows])
    summary = section.exhibits[0]
    assert summary.table is not None
    headings, cells = summary.table
    assert list(headings[-6:]) == ["≤ 0.5", "≤ 1", "≤ 2", "≤ 3", "≤ 5", "≤ 10"]
    who = ["alexnet-tiny", "noise"]
    ours = [*who, "ZAP, per channel (ours)", "recalibrated", "60.00"]
    assert cells[0] == [*ours, "", "31.0 (0.80)", "", "40.0 (2.50)", "", ""]
    assert cells[1] == [*who, "ZAP, uniform", *ours[3:], "20.0 (0.30)", "", "", "", "", ""]
    assert cells[2][:2] == ["AlexNet", "CIFAR-100"]  # published figures of its kind follow
    assert cells[2][-5] == "32.4 (0.70)"


def test_a_control_has_a_row_of_its_own() -> None:
    control = ROW | {"method": "none", "pattern": None, "drop": -0.4, "mac_reduction": 0.0}
    control |= {"recalibrated": False, "fine_tuned": True}
    section = table([MeasuredPoint.model_validate(row) for row in (ROW, control)])
    summary = section.exhibits[0]
    assert summary.table is not None
    row = next(row for row in summary.table[1] if row[2] == "no skipping (control)")
    assert row == ["alexnet-tiny", "noise", row[2], "fine-tuned", "60.00", "0.0 (-0.40)", *[""] * 5]


def test_published_figures_are_whole() -> None:
    figures = published()
    assert len(figures) > 10
    for figure in figures:
        assert 0 < figure.mac_reduction < 1
        assert figure.drop is not None or figure.drop_top5 is not None
        assert "et al." in figure.source or "&" in figure.source


def test_the_report_has_every_section_and_needs_no_other_file(
    bundle: Path,
    noise: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "report"
    uniform = CHOSEN | {"method": "zap-uniform", "pattern": "D", "drop": 9.0}
    file = results(tmp_path, ROW, CHOSEN, uniform, ROW | {"method": "new", "pattern": None})
    page = make(monkeypatch, out, bundle, "--results", file)
    figures = {
        *(
            f"{kind}-tiny-noise"
            for kind in ("points", "cycles", "sparsity", "ofms", "scores", "mispredictions")
        ),
        *(f"{kind}-alexnet-tiny-noise" for kind in ("operating-points", "estimates", "line")),
    }
    tables = {"table-1", "operating-points", "whole-tiny-noise"}
    assert {path.name for path in out.iterdir()} == {
        "index.html",
        *(f"{name}.png" for name in figures),
        *(f"{name}.svg" for name in figures),
        *(f"{name}.csv" for name in figures | tables),
    }
    assert page.count('<img src="data:image/png;base64,') == len(figures)
    assert page.count('download="cycles-tiny-noise.svg"') == 1
    scripts = r"<script.*?</script>"
    assert not re.search(r'(src|href)="(?!data:|#)', re.sub(scripts, "", page, flags=re.DOTALL))
    assert "<script src" not in page
    assert "Left out" not in page
    printed = capsys.readouterr().out
    assert "mean error" in printed
    assert f"wrote {out / 'index.html'}" in printed.replace("\n", "")

    rows = records(out / "operating-points.csv")
    assert [row["drop"] for row in rows] == ["0.8", "2.1", "9.0", "0.8"]
    layers = records(out / "sparsity-tiny-noise.csv")
    assert [row["layer"] for row in layers] == ["conv1", "conv2", "conv3", "conv4"]
    scores = records(out / "scores-tiny-noise.csv")
    assert {(row["layer"], row["pattern"]) for row in scores} == {
        ("conv2", "B"),
        ("conv2", "D"),
        ("conv3", "D"),
    }
    lost = records(out / "mispredictions-tiny-noise.csv")
    assert sum(int(row["skipped"]) for row in lost if row["value"] != "0") > 0


def test_the_users_network_leads_and_others_follow_apart(
    bundle: Path, noise: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ROW | {"network": "tiny"}
    page = make(monkeypatch, tmp_path, bundle, "--results", results(tmp_path, ROW, own))
    order = (
        '<h1 class="part">tiny on noise</h1>',
        ">Operating points: loss against speed-up</h2>",
        "<h3>tiny on noise</h3>",
        ">Cycles, energy and traffic of each layer</h2>",
        ">Zero activations in each layer</h2>",
        '<h1 class="part">For comparison</h1>',
        ">All methods on all networks</h2>",
        "<h3>alexnet-tiny on noise</h3>",
    )
    assert sorted(order, key=page.index) == list(order)


def test_cycles_are_the_models_at_the_shares_that_were_skipped(
    observed: Observation, bundle: Path, noise: None
) -> None:
    config = replace(PRESETS["small"], name="g4", group=4, bus_bits=32)
    section = layer_cycles([observed], config)
    (exhibit,) = section.exhibits
    costs = NetworkCosts(observed.bundle, config)
    assert not costs.misfits
    counts = {layer.name: layer for layer in observed.points["some"].layers}
    skipped = {name: counts[name].skipped_share for name in ("conv2", "conv3")}
    zaps = {"conv2": MASKS["B"], "conv3": MASKS["D"]}
    on = costs.cycles({layer: (pattern, skipped[layer]) for layer, pattern in zaps.items()})
    off = costs.cycles()
    for record in exhibit.records:
        name = str(record["layer"])
        assert record["cycles_off"] == off[name].elapsed
        assert record["cycles_on"] == on[name].elapsed
        assert record["zap"] == (name in zaps)
        assert (record["lost"] == 0) == (name not in zaps)
    layers = {layer.name: layer for layer in observed.layers}
    assert skipped == {name: layers[name].skipped.sum() / layers[name].activations for name in zaps}


@pytest.mark.parametrize("config", [PRESETS["small"], replace(PRESETS["small"], ofm_words=512)])
def test_whole_networks_stand_beside_their_convolutions(
    observed: Observation, config: Config
) -> None:
    build = find_build(config)
    (whole,) = whole_networks([observed], config).exhibits
    (layers,) = layer_cycles([observed], config).exhibits
    names = {n.name for n in observed.bundle.manifest.layers if getattr(n, "fully_connected", 0)}
    assert names
    listed: list[dict[str, Any]] = [dict(layer) for layer in layers.records]
    for record in [dict[str, Any](record) for record in whole.records]:
        chosen = [
            layer
            for layer in listed
            if record["layers"] == "all" or (layer["macs"] and layer["layer"] not in names)
        ]
        which = record["ZAP"]
        assert record["cycles"] == sum(layer[f"cycles_{which}"] for layer in chosen)
        clock = ASSUMED_MHZ if build is None else build.clock_mhz
        assert record["images a second"] == pytest.approx(clock * 1e6 / record["cycles"])
        macs = sum(layer["macs"] for layer in chosen)
        done = macs - sum(layer["macs"] * layer["skipped"] for layer in chosen)
        counted, computed = record["MACs a DSP block and cycle"], record["skips not counted"]
        if build is None:
            assert counted is computed is None
        else:
            dsps = build.use.dsp
            assert counted == pytest.approx(macs / dsps / record["cycles"])
            of_run = done if which == "on" else macs
            assert computed == pytest.approx(of_run / dsps / record["cycles"])
    assert [(r["layers"], r["ZAP"]) for r in whole.records] == [
        (layers, zap) for layers in ("all", "convolutions") for zap in ("off", "on")
    ]


def test_layers_that_do_not_fit_are_named(observed: Observation) -> None:
    config = replace(PRESETS["small"], weight_words=16)
    (exhibit,) = layer_cycles([observed], config).exhibits
    assert "conv2" not in [record["layer"] for record in exhibit.records]
    assert "do not fit: layer 'conv2' needs 25 words of weights" in exhibit.caption


def test_an_image_takes_the_place_of_a_dataset_that_is_not_there(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(directory: Path | None) -> DatasetSource:
        raise UserError("dataset noise needs --data DIR")

    monkeypatch.setitem(DATASETS, "noise", absent)
    file = tmp_path / "mine.npy"
    np.save(file, TEST.images[3].numpy())
    alone = observe(bundle, None, None, 1000, str(file))
    assert (alone.images, alone.dataset) == (1, "mine.npy")
    assert torch.equal(alone.pixels, TEST.pixels(slice(3, 4))[0])
    with pytest.raises(UserError, match="dataset noise needs --data DIR"):
        observe(bundle, None, None, 1000, "3")


def test_what_is_not_at_hand_is_left_out_by_name(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def absent(directory: Path | None) -> DatasetSource:
        raise UserError("dataset noise needs --data DIR")

    monkeypatch.setitem(DATASETS, "noise", absent)
    nothing = tmp_path / "nothing"
    page = make(monkeypatch, tmp_path / "out", nothing, bundle, "--results", results(tmp_path, ROW))
    printed = capsys.readouterr().out
    for line in (
        f"{nothing}: no bundle there",
        f"{bundle}: dataset noise needs --data DIR",
        "Accuracy against error: no network has figures for it",
    ):
        assert f"skipped: {line}" in printed
        assert line in page
    assert "Zero activations" not in page
    assert "All methods on all networks" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "0"], "--images '0' is not an integer of at least 1"),
        (["--results", "FILE"], "not readable as JSON"),
        (["--results", "NONE"], "nothing to report"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    options: list[str | Path],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "damaged.json"
    damaged.write_text("[")
    names = {"FILE": damaged, "NONE": tmp_path / "none.json"}
    options = [names.get(str(option), option) for option in options]
    out = tmp_path / "out"
    assert_refused(report.main, [*options, "--out", out], message, monkeypatch, capsys)
    assert not out.exists()
