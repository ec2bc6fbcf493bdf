"""Value prediction and feature-map pruning: what they skip, what they change, how it is counted."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden.bundle import Bundle
from golden.layers import ConvResult, Counters, conv
from golden.manifest import ConvNode
from golden.network import Network, Step, quantise_images
from golden.pattern import MASKS
from golden.zap_sites import zap_sites
from quant import evaluate as evaluate_command
from quant.baselines.feature_map_pruning import FeatureMapPruning, live_channels, prune
from quant.baselines.value_prediction import ValuePrediction, diagonals, predict_zeros
from quant.data.images import DatasetSource
from quant.data.registry import DATASETS
from quant.frontend.graph import Graph
from quant.points.accounting import Evaluation, LayerTally
from quant.points.evaluation import evaluate
from quant.points.operating_points import add_operating_point
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.quant_cases import assert_refused, images, tiny_bundle, tiny_module

IMAGES = images(40)
ZAP_LAYERS = ["conv2", "conv3", "conv4"]
DEAD = {"conv1": [0, 3], "conv2": [5], "conv4": [1, 2, 9]}


@pytest.fixture(scope="module")
def tiny() -> tuple[Graph, Bundle]:
    """Without predictors, some of its channels always zero."""
    graph, bundle = tiny_bundle(tiny_module(), IMAGES)
    tensors = dict(bundle.tensors)
    for layer, channels in DEAD.items():
        bias = tensors[f"layers.{layer}.bias"].clone()
        bias[channels] = -(2**28)
        tensors[f"layers.{layer}.bias"] = bias
    return graph, Bundle(bundle.manifest, tensors)


@pytest.fixture(scope="module")
def bundle(tiny: tuple[Graph, Bundle]) -> Bundle:
    """With predictors too."""
    plain = tiny[1]
    zaps = train_zaps(plain, [Site(n, MASKS["B"]) for n in ZAP_LAYERS], IMAGES, epochs=2, seed=0)
    return add_zaps(plain, zaps, IMAGES)


def inputs(bundle: Bundle) -> Tensor:
    return quantise_images(bundle, IMAGES.pixels(slice(None)))


def conv_steps(network: Network) -> list[tuple[Step, ConvNode, ConvResult]]:
    """The convolutions of a run, fully connected layers among them."""
    return [
        (step, step.node, step.result)
        for step in network.steps(inputs(network.bundle))
        if isinstance(step.node, ConvNode) and step.result is not None
    ]


def assert_equal_bits(one: Network, other: Network) -> None:
    for a, b in zip(one.steps(inputs(one.bundle)), other.steps(inputs(one.bundle)), strict=True):
        assert torch.equal(a.ofm, b.ofm), a.node.name


# --- value prediction -------------------------------------------------------------------------

OFM = [
    [0, 7, 3, 9, 1],
    [8, 0, 0, 0, 2],
    [0, 0, 5, 0, 0],
    [0, 0, 6, 0, 4],
    [2, 1, 0, 3, 0],
]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (
            2,  # kept: the windows at (0, 2), (0, 4), (2, 2) and (4, 0), two of them cut
            [
                [0, 0, 3, 9, 1],
                [0, 0, 0, 0, 2],
                [0, 0, 5, 0, 0],
                [0, 0, 6, 0, 0],
                [2, 1, 0, 0, 0],
            ],
        ),
        (
            3,  # kept: all but the window at (3, 3), which is cut to 2 x 2
            [
                [0, 7, 3, 9, 1],
                [8, 0, 0, 0, 2],
                [0, 0, 5, 0, 0],
                [0, 0, 6, 0, 0],
                [2, 1, 0, 0, 0],
            ],
        ),
        (
            9,  # one window, kept for its 5
            OFM,
        ),
    ],
)
def test_windows_are_zero_if_their_diagonal_is(window: int, expected: list[list[int]]) -> None:
    result = predict_zeros(torch.tensor(OFM, dtype=torch.int32)[None, None], window)
    assert result.ofm[0, 0].tolist() == expected


def test_diagonals_of_cut_windows() -> None:
    assert diagonals(4, 5, 3).int().tolist() == [
        [1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1],
        [0, 0, 1, 0, 0],
        [1, 0, 0, 1, 0],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_value_prediction_equals_a_reference(seed: int) -> None:
    """One window at a time, by Python's slices."""
    rng = np.random.default_rng(seed)
    window = int(rng.integers(1, 6))
    shape = (2, 3, *(int(size) for size in rng.integers(1, 12, 2)))
    dense = rng.integers(0, 256, shape) * (rng.random(shape) < 0.2)
    ofm = dense.copy()
    computed = kept = 0
    for n, c in np.ndindex(*shape[:2]):
        for y in range(0, shape[2], window):
            for x in range(0, shape[3], window):
                part = ofm[n, c, y : y + window, x : x + window]
                diagonal = part.diagonal().copy()
                computed += len(diagonal)
                if diagonal.any():
                    kept += part.size - len(diagonal)
                else:
                    part[:] = 0
    result = predict_zeros(torch.from_numpy(dense.astype(np.int32)), window)
    np.testing.assert_array_equal(result.ofm.numpy(), ofm)
    np.testing.assert_array_equal(result.ofm.numpy(), dense * result.keep.numpy())
    assert result.counters == Counters(computed, kept, dense.size - computed - kept)
    assert int(result.keep.sum()) == computed + kept


def test_values_are_predicted_where_a_zap_could_be(tiny: tuple[Graph, Bundle]) -> None:
    graph, bundle = tiny
    sites = [node.name for node in zap_sites(bundle.manifest)]
    assert sites == [layer.name for layer in graph.zap_sites()] == ZAP_LAYERS
    for step, node, result in conv_steps(ValuePrediction(bundle, 3)):
        dense = conv(bundle.conv(node), step.ifm, None, step.residual).ofm
        here = node.name in ZAP_LAYERS
        assert torch.equal(step.ofm, predict_zeros(dense, 3).ofm if here else dense)
        assert (result.counters.skipped > 0) == here


def test_windows_of_one_activation_predict_nothing(bundle: Bundle) -> None:
    assert_equal_bits(ValuePrediction(bundle, 1), Network(bundle))


# --- feature-map pruning ----------------------------------------------------------------------


def test_channels_within_epsilon_of_zero_are_pruned() -> None:
    ifm = torch.tensor([[[[0, 0]], [[0, 2]], [[-3, 1]]], [[[1, 0]], [[0, 0]], [[0, -3]]]])
    live = [live_channels(ifm, epsilon).int().tolist() for epsilon in range(4)]
    assert live == [
        [[0, 1, 1], [1, 0, 1]],
        [[0, 1, 1], [0, 0, 1]],
        [[0, 0, 1], [0, 0, 1]],
        [[0, 0, 0], [0, 0, 0]],
    ]
    assert prune(ifm, 1)[1].tolist() == [[[0, 0]], [[0, 0]], [[0, -3]]]


@pytest.mark.parametrize("sigma", [None, 0.1])
def test_pruning_zero_channels_changes_no_bit(bundle: Bundle, sigma: float | None) -> None:
    predictors = {} if sigma is None else bundle.uniform(MASKS["B"], sigma)
    plain = evaluate(bundle, predictors, IMAGES)
    pruned = evaluate(bundle, predictors, IMAGES, epsilon=0)
    assert pruned.load_reduction > plain.load_reduction == 0
    assert pruned.mac_reduction > plain.mac_reduction
    network = Network(bundle, predictors)
    assert_equal_bits(FeatureMapPruning(network, 0), network)


def test_zero_channels_of_value_prediction_change_no_bit_either(bundle: Bundle) -> None:
    network = ValuePrediction(bundle, 2)
    assert_equal_bits(FeatureMapPruning(network, 0), network)


@pytest.mark.parametrize("epsilon", [0, 12])
def test_what_is_left_is_the_sum_over_live_channels(bundle: Bundle, epsilon: int) -> None:
    """An image and a layer at a time, with the other channels and their weights taken out."""
    pruned = 0
    for step, node, result in conv_steps(FeatureMapPruning(Network(bundle), epsilon)):
        layer = bundle.conv(node)
        for image, live in enumerate(live_channels(step.ifm, epsilon)):
            if node.fully_connected:
                live = torch.ones_like(live)
            pruned += int((~live).sum())
            left = replace(layer, weight=layer.weight[:, live])
            one = slice(image, image + 1)
            residual = None if step.residual is None else step.residual[one]
            expected = conv(left, step.ifm[one, live], None, residual)
            assert torch.equal(result.ofm[one], expected.ofm)
    assert pruned > 0


# --- accounting -------------------------------------------------------------------------------


def test_a_mac_is_skipped_once() -> None:
    """A 3x3 layer of two input channels, on one image with one live channel and one with both."""
    node = ConvNode(name="conv", input="in", output="conv", padding=(1, 1))
    keep = torch.tensor([[[[1, 1], [1, 1]]], [[[1, 0], [0, 1]]]]).bool()
    dense = torch.tensor([[[[5, 0], [0, 0]]], [[[1, 2], [0, 4]]]])
    ifm = torch.tensor([[[[1, 0], [0, 1]], [[9, 0], [0, 0]]], [[[0, 0], [0, 2]], [[0, 3], [0, 0]]]])
    result = ConvResult(dense, keep[0, 0], None, keep, dense * keep, Counters(4, 2, 2))
    step = Step(node, ifm, result.ofm, None, None, result)
    macs = 2 * 2 * 1 * 2 * 9

    tally = LayerTally("conv", macs, zap=True)
    tally.count(step, 1)
    assert (tally.activations, tally.kept, tally.skipped, tally.wrong) == (8, 2, 2, 1)
    assert tally.executed == 9 * (4 * 1 + 2 * 2)
    assert (tally.loads, tally.loaded) == (16, 4 * (1 + 2))
    evaluation = Evaluation(images=2, layers=[tally])
    assert evaluation.mac_reduction == (144 - 72) / 144
    assert evaluation.load_reduction == 4 / 16

    tally = LayerTally("conv", macs, zap=True)
    tally.count(step, None)
    assert (tally.executed, tally.loads, tally.loaded) == (9 * 2 * (4 + 2), 16, 16)


def test_reductions_on_a_network(bundle: Bundle) -> None:
    """Counted by hand from what each layer of each image kept and read."""
    predictors = bundle.uniform(MASKS["B"], 0.0)
    executed = macs = loaded = loads = 0
    for step, node, result in conv_steps(FeatureMapPruning(Network(bundle, predictors), 40)):
        if not node.fully_connected:
            _, channels, k_h, k_w = bundle.conv(node).weight.shape
            macs += result.ofm.numel() * channels * k_h * k_w
            loads += step.ifm.numel()
            for ifm, keep in zip(step.ifm, result.keep):
                live = sum(bool((channel.abs() > 40).any()) for channel in ifm)
                executed += int(keep.sum()) * k_h * k_w * live
                loaded += live * ifm[0].numel()
    both = evaluate(bundle, predictors, IMAGES, epsilon=40)
    assert both.mac_reduction == (macs - executed) / macs
    assert both.load_reduction == (loads - loaded) / loads
    zap = evaluate(bundle, predictors, IMAGES)
    assert both.mac_reduction > zap.mac_reduction > 0


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def saved(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle in a directory, with an operating point adapted to it, and a dataset for it."""
    source = DatasetSource(bundle.manifest.classes, IMAGES, IMAGES)
    monkeypatch.setitem(DATASETS, "tiny", lambda directory: source)
    point = {"conv3": (MASKS["B"], 0.2), "conv4": (MASKS["B"], 0.1)}
    scaled = {"layers.conv3.multiplier": bundle.tensors["layers.conv3.multiplier"] // 2}
    adapted = Bundle(bundle.manifest, bundle.tensors | scaled)
    add_operating_point(bundle, "mine", point, adapted).save(tmp_path / "bundle")
    return tmp_path / "bundle"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    everything = ["evaluate", *map(str, arguments), "--dataset", "tiny"]
    monkeypatch.setattr(sys, "argv", everything)
    evaluate_command.main()


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
    tiny: tuple[Graph, Bundle], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny[1].save(tmp_path / "plain")
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
    given = [str(tmp_path / "list.json") if option == "LIST" else option for option in options]
    assert_refused(evaluate_command.main, [saved, *given], message, monkeypatch, capsys)
