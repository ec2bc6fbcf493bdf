"""The engine on real simulators: a whole network, random layers, and reports of differences."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from examples import demo
from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.errors import UserError
from golden.pattern import Pattern
from golden.terminal import Console
from hw.contract.config import PRESETS
from hw.layouts.descriptor import CounterBlock
from hw.lib.structs import struct_bits
from quant.data.registry import load
from quant.frontend.lowering import lower
from quant.networks.registry import MODELS
from quant.quantise.calibration import activation_scales
from quant.quantise.integer_network import quantise
from quant.runtime.progress import reporting
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tb import random_layers, sim
from tb.exchange.engine_files import Outcome
from tb.random.draws import CORNERS
from tb.random.layers import random_layers as draw_layers
from tb.runs.bundle_layers import engine_layers
from tb.runs.engine import EngineLayer, check, require_agreement, run_batches, run_on_each
from tb.runs.verdict import print_verdict
from tb.simulators.toolchain import SIMULATORS, Simulator
from tests.commands import assert_refused
from tests.quant.tiny_networks import branches_module, images, randomise_batch_norms, tiny_bundle

SMALL = PRESETS["small"]
SEED = 20


@pytest.fixture(scope="module")
def layers() -> list[EngineLayer]:
    return draw_layers(SMALL, len(CORNERS), SEED)


def outcome_of(layer: EngineLayer, ofm: np.ndarray, **counters: int) -> Outcome:
    """Return the outcome of an engine whose ofm is `ofm`."""
    group = SMALL.group
    channels = ceil_div(len(ofm), group) * group
    padded = np.zeros((channels, *ofm.shape[1:]), np.int32)
    padded[: len(ofm)] = ofm
    words = padded.reshape(-1, group, *ofm.shape[1:]).transpose(0, 2, 3, 1).reshape(-1, group)
    golden = layer.expected.counters
    counted = {
        "computed": golden.computed,
        "kept": golden.kept,
        "skipped": golden.skipped,
        **counters,
    }
    return Outcome(words.astype(np.uint8), struct_bits(CounterBlock(), counted))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The digits network with random weights and barely trained ZAPs: bits need no accuracy."""
    model = MODELS["digits"]
    digits = load("digits", None)
    torch.manual_seed(SEED)
    module = model.build(len(digits.classes)).eval()
    randomise_batch_norms(module)
    graph = lower(module, digits.shape)
    image_set = digits.train.first(128)
    scales = activation_scales(graph, model, [model.normalise(image_set.pixels(slice(None)))])
    dense = quantise(graph, scales, model, name="digits", classes=digits.classes)
    sites = [Site(layer.name, Pattern.parse("D")) for layer in graph.zap_sites()]
    return add_zaps(dense, train_zaps(dense, sites, image_set, epochs=2, seed=SEED), image_set)


@pytest.mark.sim
def test_a_network_is_bit_exact_on_both_simulators_and_they_agree_on_every_counter(
    bundle: Bundle,
) -> None:
    pixels = load("digits", None).test.pixels(slice(0, 1))[0]
    layers = engine_layers(bundle, SMALL, pixels, bundle.uniform(Pattern.parse("D"), 0.2))
    with reporting() as report:
        results = run_on_each(SMALL, SIMULATORS, layers, report)
    require_agreement(results)
    for checks in results.values():
        assert [c.mismatch for c in checks] == [None] * len(layers)
        assert all(c.counters["cycles"] > c.counters["busy"] > 0 for c in checks)
        assert sum(c.counters["skipped"] for c in checks) > 0


@pytest.mark.sim
def test_a_network_with_concats_is_bit_exact() -> None:
    image_set = images(64)
    _, dense = tiny_bundle(branches_module(), image_set)
    sites = [Site(layer, Pattern.parse("D")) for layer in ("left", "narrow", "wide", "last")]
    bundle = add_zaps(dense, train_zaps(dense, sites, image_set, epochs=1, seed=SEED), image_set)
    pixels = image_set.pixels(slice(0, 1))[0]
    layers = engine_layers(bundle, SMALL, pixels, bundle.uniform(Pattern.parse("D"), 0.3))
    wide = next(layer for layer in layers if layer.conv.name == "wide")
    left = next(layer for layer in layers if layer.conv.name == "left")
    assert torch.equal(wide.ifm[:6], left.output)
    assert (wide.pool, len(wide.ifm)) == (None, 14)
    with reporting() as report:
        results = run_on_each(SMALL, ["verilator"], layers, report)
    assert [check.mismatch for check in results["verilator"]] == [None] * len(layers)
    assert sum(check.counters["skipped"] for check in results["verilator"]) > 0


@pytest.mark.sim
@pytest.mark.parametrize(("simulator", "seed", "rounds"), [("verilator", 1, 2), ("icarus", 2, 1)])
def test_random_layers_are_bit_exact(simulator: Simulator, seed: int, rounds: int) -> None:
    layers = draw_layers(SMALL, rounds * len(CORNERS), seed)
    checks = run_batches(SMALL, simulator, layers, seed)
    assert [c.mismatch for c in checks] == [None] * len(layers)


@pytest.mark.sim
def test_random_layers_reach_the_corners_that_they_name(layers: list[EngineLayer]) -> None:
    by_corner = dict(zip(CORNERS, layers, strict=True))
    assert by_corner["one pixel"].expected.ofm.shape[2:] == (1, 1)
    assert by_corner["all skipped"].expected.counters.kept == 0
    assert by_corner["none skipped"].expected.counters.skipped == 0
    saturating = by_corner["saturating"].conv
    assert set(saturating.bias.tolist()) <= {-(2**31), 2**31 - 1}
    assert set(by_corner["extreme weights"].conv.weight.unique().tolist()) == {-128, 127}
    assert by_corner["no ZAP"].predictor is None
    assert (by_corner["signed"].expected.ofm < 0).any()


def test_an_equal_ofm_is_no_mismatch(layers: list[EngineLayer]) -> None:
    layer = layers[0]
    result = check(layer, outcome_of(layer, layer.output.numpy()))
    assert (result.differ, result.mismatch) == (0, None)
    assert result.compared == layer.output.numel()


def test_a_mismatch_names_layer_channel_pixel_and_both_values(layers: list[EngineLayer]) -> None:
    layer = next(layer for layer in layers if len(layer.output) > 1)
    wrong = layer.output.numpy().copy()
    golden = int(wrong[1, 0, 0])
    wrong[1, 0, 0] = (golden + 1) % 128
    wrong[1, -1, -1] ^= 1
    result = check(layer, outcome_of(layer, wrong))
    assert result.differ in (1, 2)  # 1 where the ofm is one pixel
    assert result.mismatch == (
        f"layer {layer.conv.name!r}, channel 1, pixel (0, 0): "
        f"hardware {wrong[1, 0, 0]}, golden {golden}"
    )
    console = Console(record=True, width=200)
    assert print_verdict([result], console) == 1
    text = console.export_text()
    assert result.mismatch in text
    assert f"{result.compared} activations compared, {result.differ} differ" in text


def test_a_counter_that_differs_is_a_mismatch_too(layers: list[EngineLayer]) -> None:
    layer = layers[0]
    ofm = layer.output.numpy()
    result = check(layer, outcome_of(layer, ofm, kept=layer.expected.counters.kept + 1))
    assert result.differ == 0
    assert result.mismatch is not None
    assert "counter kept" in result.mismatch
    assert print_verdict([result], Console(quiet=True)) == 1


def test_the_check_sees_what_golden_expects_and_not_what_it_computed_itself(
    layers: list[EngineLayer],
) -> None:
    layer = next(layer for layer in layers if layer.pool is None)
    ofm = layer.output.numpy()
    elsewhere = replace(layer.expected, ofm=layer.expected.ofm ^ 1)
    assert check(replace(layer, expected=elsewhere), outcome_of(layer, ofm)).differ == ofm.size


def test_a_layer_that_does_not_fit_is_named_before_anything_is_simulated(bundle: Bundle) -> None:
    narrow = replace(SMALL, name="narrow", ofm_words=128)
    message = "layer 'conv1' takes 2 strips in configuration 'narrow', and only the whole core"
    with pytest.raises(UserError, match=re.escape(message)):
        engine_layers(bundle, narrow, torch.zeros(1, 16, 16), {})


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (sim.main, ("--bundle", "no/such/bundle"), "no/such/bundle/manifest.json: not found"),
        (sim.main, ("--config", "huge"), "no configuration 'huge'"),
        (random_layers.main, ("--config", "huge"), "no configuration 'huge'"),
        (demo.main, ("--bundle", "no/such/bundle"), "no/such/bundle/manifest.json: not found"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(
    main: Callable[[], int],
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(main, list(arguments), message, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (sim.main, ("--sim", "modelsim"), "argument --sim: invalid choice: 'modelsim'"),
        (sim.main, ("--image",), "argument --image: expected one argument"),
        (random_layers.main, ("--n", "0"), "--n '0' is not an integer of at least 1"),
    ],
)
def test_a_wrong_flag_is_refused(
    main: Callable[[], int],
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(main, list(arguments), message, monkeypatch, capsys)
