"""From a budget to an operating point: what is chosen, recorded and refused."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.measure import kept_shares
from compiler.build import compile_bundle
from compiler.costs_file import network_costs
from compiler.cycles import layer_cycles
from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import quantise_images
from golden.pattern import MASKS
from hw.contract.config import PRESETS, Config
from quant import choose
from quant.data.images import DatasetSource, ImageSet
from quant.data.registry import DATASETS, load
from quant.networks.registry import MODELS
from quant.points.evaluation import evaluate
from quant.points.results import read_points
from quant.training.fine_tuning import fine_tune
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.commands import assert_refused
from tests.quant.tiny_networks import quickly_trained

MODEL = MODELS["digits"]
PATTERNS = [MASKS["B"], MASKS["D"]]
QUICK = ["--statistics-images", "200", "--augment-held-out", "2"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a digits network with predictors, trained just enough to tell digits apart."""
    graph, bundle = quickly_trained(4, 256)
    train_images = load("digits", None).train
    provenance = {"model": "digits"}
    bundle = Bundle(bundle.manifest.model_copy(update={"provenance": provenance}), bundle.tensors)
    bare = tmp_path_factory.mktemp("bundles") / "bare"
    bundle.save(bare)
    sites = [Site(layer.name, pattern) for layer in graph.zap_sites() for pattern in PATTERNS]
    bundle = add_zaps(
        bundle, train_zaps(bundle, sites, train_images, epochs=2, seed=0), train_images.first(256)
    )
    bundle.save(bare.with_name("source"))
    return bare.with_name("source")


def run(monkeypatch: pytest.MonkeyPatch, source: Path, out: Path, *options: str) -> Bundle:
    arguments = [str(source), "--out", str(out), *QUICK, *options]
    monkeypatch.setattr(sys, "argv", ["choose", *arguments])
    choose.main()
    return Bundle.load(out)


def test_each_budget_becomes_an_operating_point_with_its_figures(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--max-drop", "2", "8", "--mac-reduction", "0.25"]
    bundle = run(monkeypatch, source, tmp_path / "out", *options)
    points = bundle.manifest.operating_points
    assert [point.name for point in points] == ["max-drop-2", "max-drop-8", "mac-reduction-0.25"]
    reductions = []
    dataset = load("digits", None)
    dense = evaluate(bundle, {}, dataset.test)
    for point in points:
        assert point.predicted is not None
        assert point.predicted.mac_reduction is not None
        assert point.measured is not None
        assert point.measured == evaluate(*bundle.at(point.name), dataset.test).figures(dense)
        assert point.measured.deviation is not None
        assert 0 < point.measured.deviation < 2
        reductions.append(point.predicted.mac_reduction)
    assert points[0].predicted is not None
    assert points[2].measured is not None
    assert points[0].predicted.drop == pytest.approx(2, rel=1e-2)
    assert 0 < reductions[0] < reductions[1]
    assert 0.25 <= reductions[2] < 0.26
    assert points[2].measured.mac_reduction == pytest.approx(0.25, abs=0.02)


def by_costs(source: Path, folder: Path, config: Config) -> Path:
    """Write the costs of the network on a core; return the file."""
    file = folder / "costs.json"
    file.write_text(network_costs(Bundle.load(source), config).model_dump_json())
    return file


def cycles_of(bundle: Bundle, point: str, config: Config) -> tuple[dict, dict]:
    """Cycles of each layer without ZAP and at an operating point, as golden skips on an image."""
    images = quantise_images(bundle, load("digits", None).train.pixels(slice(0, 64)))
    program = compile_bundle(bundle, config)
    shares = [kept_shares(bundle, point, image) for image in images]
    kept = {layer: np.mean([share[layer] for share in shares], 0) for layer in shares[0]}
    off, on = layer_cycles(program), layer_cycles(program, point, kept)
    return tuple({n: c.elapsed for n, c in run.items()} for run in (off, on))  # type: ignore[return-value]


def test_by_time_more_cycles_are_saved_at_equal_loss_and_no_layer_is_slower(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PRESETS["default"]
    file = by_costs(source, tmp_path, config)
    out = tmp_path / "out"
    run(monkeypatch, source, out, "--max-drop", "5")
    bundle = run(monkeypatch, out, out, "--max-drop", "5", "--costs", str(file))
    by_macs, by_time = bundle.manifest.operating_points
    assert (by_macs.name, by_time.name) == ("max-drop-5", "max-drop-5-by-time")
    assert by_macs.by_time is None
    assert by_time.by_time is not None
    assert by_time.by_time.config == "default"
    with_zap = {node.layer for node in bundle.manifest.predictors.values()}
    assert set(by_time.by_time.left_out) == with_zap - set(by_time.layers)
    assert by_time.by_time.left_out
    off, macs = cycles_of(bundle, by_macs.name, config)
    _, time = cycles_of(bundle, by_time.name, config)
    assert sum(time.values()) < min(sum(macs.values()), sum(off.values()))
    for layer in by_time.layers:
        assert time[layer] <= off[layer]
    speed_up = sum(off.values()) / sum(time.values())
    assert by_time.by_time.speed_up == pytest.approx(speed_up, rel=0.03)


def test_a_speed_up_is_reached_with_the_least_loss(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PRESETS["small"]
    file = by_costs(source, tmp_path, config)
    options = ["--costs", str(file), "--speed-up", "1.1", "1.3"]
    bundle = run(monkeypatch, source, tmp_path / "out", *options)
    points = bundle.manifest.operating_points
    assert [point.name for point in points] == ["speed-up-1.1-by-time", "speed-up-1.3-by-time"]
    drops = []
    for wanted, point in zip((1.1, 1.3), points, strict=True):
        assert point.by_time is not None
        assert wanted <= point.by_time.speed_up < wanted + 0.01
        assert point.predicted is not None
        assert point.predicted.drop is not None
        drops.append(point.predicted.drop)
    assert drops[0] < drops[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speed-up", "1.3"], "--speed-up needs --costs, which python -m compiler"),
        (["--speed-up", "1", "--costs", "FILE"], "--speed-up 1 is not a number in 1 .. 100"),
        (["--mac-reduction", "0.1", "--costs", "FILE"], "--mac-reduction goes without --costs"),
        (["--max-drop", "1", "--costs", "NONE"], "not found; write it with python -m compiler"),
        (["--max-drop", "1", "--costs", "OTHER"], "costs of 'other', and the bundle is 'digits'"),
        (["--max-drop", "1", "--costs", "UNEVEN"], "layers.conv2.zaps.B: skipped must rise"),
        (["--max-drop", "1", "--costs", "EMPTY"], "EMPTY: version: Field required; write it"),
        (["--max-drop", "1", "--costs", "SLOW"], "no predictor saves anything"),
        (["--speed-up", "9", "--costs", "FILE"], "so much less of the cycles, is out of reach"),
    ],
    ids=lambda value: "-".join(value[-1:]) if isinstance(value, list) else "",
)
def test_costs_that_nothing_can_be_chosen_by_are_refused(
    options: list[str],
    message: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    costs = network_costs(Bundle.load(source), PRESETS["small"]).model_dump()
    first, *_ = [name for name, layer in costs["layers"].items() if layer["zaps"]]
    uneven, slow = copy.deepcopy(costs), copy.deepcopy(costs)
    uneven["layers"][first]["zaps"]["B"]["skipped"][1] = 0.0
    for layer in slow["layers"].values():
        for zap in layer["zaps"].values():
            zap["saved"] = [-1.0] * len(zap["saved"])
    contents = {
        "FILE": costs,
        "OTHER": costs | {"network": "other"},
        "UNEVEN": uneven,
        "EMPTY": {},
        "SLOW": slow,
    }
    for name, content in contents.items():
        Path(name).write_text(json.dumps(content))
    message = message.replace("conv2", first)
    arguments = [str(source), "--out", "out", *QUICK, *options]
    monkeypatch.setattr("quant.points.statistics.progress", lambda items, *_: items)
    assert_refused(choose.main, arguments, message, monkeypatch, capsys)
    assert not Path("out").exists()


def test_uniform_budgets_and_thresholds(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = run(
        monkeypatch, source, tmp_path / "out", "--max-drop", "5", "--thresholds", "uniform"
    )
    (point,) = bundle.manifest.operating_points
    assert point.name == "max-drop-5-uniform"
    assert len(point.layers) == 5
    assert len({choice.sigma for choice in point.layers.values()}) == 1
    assert len({choice.predictor.rpartition(".")[2] for choice in point.layers.values()}) == 1

    options = ["--sigma", "0.255", "--pattern", "D"]
    bundle = run(monkeypatch, tmp_path / "out", tmp_path / "out", *options)
    assert [p.name for p in bundle.manifest.operating_points] == [point.name, "sigma-0.255-D"]
    point = bundle.manifest.operating_points[1]
    uniform = bundle.uniform(MASKS["D"], 0.255)
    for layer, predictor in bundle.at(point.name)[1].items():
        assert predictor.pattern == MASKS["D"]
        assert torch.equal(predictor.threshold, uniform[layer].threshold)
    assert point.predicted is not None
    assert point.measured is not None
    assert point.predicted.mac_reduction == pytest.approx(point.measured.mac_reduction, abs=0.03)


def test_the_test_set_has_no_say_in_what_is_chosen(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_test_set(directory: Path | None) -> DatasetSource:
        true = digits(directory)
        noise = torch.randint(0, 256, true.test.images[:50].shape, dtype=torch.uint8)
        return DatasetSource(true.classes, true.train, ImageSet(noise, torch.zeros(50)))

    digits = DATASETS["digits"]
    first = run(monkeypatch, source, tmp_path / "first", "--max-drop", "3")
    monkeypatch.setitem(DATASETS, "digits", other_test_set)
    second = run(monkeypatch, source, tmp_path / "second", "--max-drop", "3")
    one, other = (bundle.manifest.operating_points[0] for bundle in (first, second))
    assert one.layers == other.layers
    assert one.predicted == other.predicted
    assert one.measured != other.measured


def test_results_are_added_to_a_list(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "results" / "points.json"
    foreign: dict[str, object] = {
        "network": "other",
        "dataset": "digits",
        "method": "zap",
        "budget": "max-drop 3",
    }
    foreign |= {"drop": 2.5, "mac_reduction": 0.1, "note": "kept as it is"}
    file.parent.mkdir()
    file.write_text(json.dumps([foreign]))
    for drops in (["3"], ["3", "6"]):
        out = tmp_path / "-".join(drops)
        run(monkeypatch, source, out, "--max-drop", *drops, "--json", str(file))
    rows = json.loads(file.read_text())
    assert [row["budget"] for row in rows] == ["max-drop 3", "max-drop 3", "max-drop 6"]
    assert rows[0] == foreign
    point = Bundle.load(out).operating_point("max-drop-6")
    assert point.predicted is not None
    assert point.measured is not None
    row = rows[2]
    assert point.measured.top1 is not None
    assert row.pop("int8_top1") - row["drop"] == pytest.approx(point.measured.top1)
    assert row.pop("command").endswith(f"--max-drop 3 6 --json {file}")
    assert row.pop("error") > 0
    assert row.pop("deviation") > 0
    assert 0 < row.pop("predicted_deviation") < row["predicted_drop"]
    errors, losses = zip(*row.pop("line"))
    assert min(errors) > 0
    assert np.interp(row["predicted_drop"], losses, errors) > 0
    assert row == {
        "network": "digits",
        "dataset": "digits",
        "method": "zap",
        "pattern": "B+D",
        "budget": "max-drop 6",
        "predicted_drop": point.predicted.drop,
        "drop": point.measured.drop,
        "predicted_mac_reduction": point.predicted.mac_reduction,
        "mac_reduction": point.measured.mac_reduction,
        "recalibrated": False,
        "fine_tuned": False,
        "float_top1": None,
        "top1": point.measured.top1,
        "images": 360,
    }
    assert [path.name for path in file.parent.iterdir()] == ["points.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to choose for: give --max-drop, --mac-reduction, --speed-up or --sigma"),
        (["--max-drop", "much"], "--max-drop much is not a number in 0 .. 100"),
        (["--max-drop", "nan"], "--max-drop nan is not a number"),
        (["--max-drop", "0"], "--max-drop 0 is not a number in 0 .. 100"),
        (["--mac-reduction", "30"], "--mac-reduction 30 is not a number in 0 .. 1"),
        (["--sigma", "nan", "--pattern", "B"], "sigma 'nan' is not a number"),
        (["--sigma", "0.1"], "give the one --pattern that it is for"),
        (["--sigma", "0.1", "--pattern", "B", "D"], "give the one --pattern that it is for"),
        (["--max-drop", "1", "--pattern", "Q"], "unknown pattern 'Q'"),
        (["--max-drop", "1", "--pattern", "A"], "the bundle has no predictor for pattern A"),
        (["--max-drop", "1", "1.0"], "an operating point 'max-drop-1' already"),
        (["--max-drop", "1", "--held-out", "1100"], "--held-out 1100: there are only 287 such"),
        (
            ["--max-drop", "1", "--held-out", "99"],
            "--held-out '99' is not an integer of at least 100",
        ),
        (
            ["--max-drop", "1", "--statistics-images", "-1"],
            "--statistics-images '-1' is not an integer of at",
        ),
        (["--max-drop", "1", "--dataset", "cifar10"], "dataset cifar10 needs --data DIR"),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    options: list[str | Path],
    message: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    everything = [source, *QUICK, *options, "--out", tmp_path / "out", "--json", tmp_path / "j"]
    assert_refused(choose.main, everything, message, monkeypatch, capsys)
    assert not list(tmp_path.iterdir())


def test_a_reduction_out_of_reach_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"reduction of 0.9 is out of reach: the best .* is 0\.\d+"):
        run(monkeypatch, source, tmp_path / "out", "--mac-reduction", "0.9")
    assert not list(tmp_path.iterdir())


def test_images_without_labels_are_judged_by_the_network_itself(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = str(tmp_path / "digits.npz")
    np.savez(file, images=load("digits", None).train.first(800).images.numpy())
    options = ["--dataset", file, "--sigma", "inf", "-1000", "--pattern", "D"]
    bundle = run(monkeypatch, source, tmp_path / "out", *options)
    everything, nothing = bundle.manifest.operating_points
    assert nothing.measured is not None
    assert everything.measured is not None
    assert nothing.measured.images == 160
    assert (nothing.measured.top1, nothing.measured.drop) == (100, 0)
    assert everything.measured.top1 is not None
    assert everything.measured.top1 < 100
    capsys.readouterr()
    tuned: list[str | Path] = [source, "--dataset", file, "--max-drop", "1", "--fine-tune", "1"]
    message = "--fine-tune needs labels"
    tuned += ["--out", tmp_path / "tuned"]
    assert_refused(choose.main, tuned, message, monkeypatch, capsys)
    known = [*tuned[:5], "--unseen-accuracy", "90", "--out", tmp_path / "known"]
    assert_refused(choose.main, known, "--unseen-accuracy needs labels", monkeypatch, capsys)


def test_files_that_are_something_else_are_refused_and_kept(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "points.json"
    options: list[str | Path] = [source, "--max-drop", "1", "--out", tmp_path / "out"]
    for content, message in (("{}", "is no list of operating points"), ("[", "not readable as")):
        file.write_text(content)
        everything = [*options, "--json", file]
        assert_refused(choose.main, everything, f"{file}: {message}", monkeypatch, capsys)
        assert file.read_text() == content
    options[-1] = tmp_path  # which holds the list
    message = "exists and is not a bundle"
    assert_refused(choose.main, options, message, monkeypatch, capsys)
    options[0] = source.with_name("bare")
    options[-1] = tmp_path / "out"
    assert_refused(choose.main, options, "the bundle has no predictors", monkeypatch, capsys)


@pytest.mark.parametrize("adapt", [["--recalibrate"], ["--recalibrate", "--fine-tune", "4"]])
def test_adapted_networks_are_kept_with_their_points(
    adapt: list[str], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = run(monkeypatch, source, tmp_path / "out", "--mac-reduction", "0.2", "0.4", *adapt)
    test = load("digits", None).test
    before = Bundle.load(source)
    dense = evaluate(before, {}, test)
    for name in before.tensors:
        assert torch.equal(bundle.tensors[name], before.tensors[name])
    for point in bundle.manifest.operating_points:
        assert {"bias", "multiplier"} <= set(point.adapted["conv3"])
        fields = {field for fields in point.adapted.values() for field in fields}
        assert ("weight" in fields) == ("--fine-tune" in adapt)
        assert point.measured == evaluate(*bundle.at(point.name), test).figures(dense)


def test_a_control_is_trained_as_long_without_zaps(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = tmp_path / "points.json"
    options = ["--mac-reduction", "0.3", "--fine-tune", "2", "--control"]
    bundle = run(monkeypatch, source, tmp_path / "out", *options, "--json", str(listed))
    assert len(bundle.manifest.operating_points) == 1
    point, control = read_points(listed)
    assert (point.method, control.method) == ("zap", "none")
    assert (control.pattern, control.mac_reduction, control.fine_tuned) == (None, 0, True)
    assert control.budget == "2 epochs"
    digits = load("digits", None)
    before = Bundle.load(source)
    again = fine_tune(before, {}, digits.train, MODEL.recipe, epochs=2, seed=1)
    dense = evaluate(before, {}, digits.test)
    assert control.top1 == evaluate(again, {}, digits.test).top1
    assert control.drop == dense.top1 - control.top1
    capsys.readouterr()
    alone: list[str | Path] = [source, "--max-drop", "1", "--control", "--out", tmp_path / "other"]
    assert_refused(choose.main, alone, "--control is trained as long", monkeypatch, capsys)


def test_known_images_are_made_as_hard_as_unseen_ones(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--unseen-accuracy", "80", "--max-drop", "5"]
    bundle = run(monkeypatch, source, tmp_path / "out", *options)
    point = bundle.manifest.operating_points[-1]
    assert point.predicted is not None
    # All training images but those of the statistics, held out or not, in two copies.
    dataset = load("digits", None)
    assert point.predicted.images == 2 * (len(dataset.train) + len(dataset.held_out) - 200)
    assert "held out, enlarged" in capsys.readouterr().err
