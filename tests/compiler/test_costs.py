"""Costs of layers agree with the compiled program's, and traffic with what cores have counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.measure import Measurement, load_measurement
from compiler.build import compile_bundle
from compiler.costs import NetworkCosts
from compiler.costs_file import network_costs
from compiler.cycles import layer_cycles
from compiler.program import DENSE
from compiler.traffic import Beats, tile_beats
from golden.bundle import Bundle
from golden.costs import read_costs
from golden.errors import UserError
from golden.pattern import FULL, MASKS, Pattern
from hw.contract.config import PRESETS, Config
from hw.contract.counters import STORED_BYTES
from hw.contract.program import DESCRIPTOR_BYTES, HEADER_BYTES
from tb.random.networks import POINT, random_runs
from tb.runs.whole_networks import find_network
from tests.hw.small_configs import STRIPS, TINY

COUNTED = Path("docs/results/bench/counted")


@pytest.fixture(scope="module", params=["alexnet-cifar-half", "vgg16-cifar-quarter"])
def measured(request: pytest.FixtureRequest) -> tuple[Measurement, Bundle, str]:
    return (
        load_measurement(COUNTED / f"{request.param}-default.json"),
        *find_network(request.param).load(),
    )


@pytest.mark.parametrize("config", [TINY, STRIPS], ids=lambda config: config.name)
def test_they_are_the_programs_cycles_without_zap_and_with_all_kept(config: Config) -> None:
    for bundle, run in random_runs(config, 4, seed=11):
        costs = NetworkCosts(bundle, config)
        assert not costs.misfits
        assert costs.cycles() == layer_cycles(run.program, DENSE, latency=costs.latency)
        predictors = bundle.at(POINT)[1]
        none_skipped = {layer: (zap.pattern, 0.0) for layer, zap in predictors.items()}
        assert costs.cycles(none_skipped) == layer_cycles(run.program, POINT)


def test_a_share_of_skips_is_that_share_kept_less(
    measured: tuple[Measurement, Bundle, str],
) -> None:
    _, bundle, point = measured
    config = PRESETS["default"]
    costs = NetworkCosts(bundle, config)
    patterns = {layer: zap.pattern for layer, zap in bundle.at(point)[1].items()}
    skips = {n: (p, 0.4 * costs.most_skipped(n, p)) for n, p in patterns.items()}
    program = compile_bundle(bundle, config)
    expected = layer_cycles(program, point, dict.fromkeys(patterns, np.float64(0.6)))
    found = costs.cycles(skips)
    for layer in expected:
        assert found[layer].elapsed == pytest.approx(expected[layer].elapsed, rel=1e-3)


def test_no_layer_of_a_saving_choice_is_slower_and_the_rest_would_be() -> None:
    bundle, _ = find_network("vgg16-cifar-quarter").load()
    costs = NetworkCosts(bundle, PRESETS["default"])
    off = costs.cycles()
    chosen = costs.saving(MASKS["B"], 0.2)
    assert set(chosen) < set(costs.sites)
    on = costs.cycles(chosen)
    for layer in off:
        assert on[layer].elapsed < off[layer].elapsed or layer not in chosen
    for layer in set(costs.sites) - set(chosen):
        alone = costs.cycles({layer: (MASKS["B"], 0.2)})
        assert alone[layer].elapsed >= off[layer].elapsed


def test_traffic_is_what_the_core_counted(measured: tuple[Measurement, Bundle, str]) -> None:
    measurement, bundle, point = measured
    config = measurement.config
    program = compile_bundle(bundle, config, keep=True)
    for name, run in ((DENSE, "off"), (point, "on")):
        found = [Beats(0, 0)] * len(program.layers)
        for words in program.descriptors(name):
            found[words["layer"]] += tile_beats(config, words)
        counted = [getattr(layer, run) for layer in measurement.layers]
        # The next descriptor is read, and the counters of the tile before are stored, meanwhile.
        early = DESCRIPTOR_BYTES // config.bus_bytes
        first = HEADER_BYTES // config.bus_bytes + early
        for number, (beats, counters) in enumerate(zip(found, counted, strict=True)):
            more = first if number == 0 else -early if number == len(found) - 1 else 0
            assert counters["beats_read"] == beats.read + more
            less = STORED_BYTES // config.bus_bytes if number == 0 else 0
            assert counters["beats_written"] == beats.written - less
        if name == DENSE:
            assert list(NetworkCosts(bundle, config).beats().values()) == found


def test_a_pattern_leaves_less_of_small_maps_to_the_predictor() -> None:
    bundle, _ = find_network("vgg16-cifar-quarter").load()
    costs = NetworkCosts(bundle, PRESETS["default"])
    half = Pattern(2, 1)
    assert costs.most_skipped("features.3", half) == 0.5
    assert costs.most_skipped("features.0", FULL) == 0


def test_costs_are_written_for_each_predictor_of_a_bundle(tmp_path: Path) -> None:
    bundle, _ = find_network("vgg16-cifar-quarter").load()
    config = PRESETS["default"]
    file = tmp_path / "costs.json"
    file.write_text(network_costs(bundle, config).model_dump_json())
    found = read_costs(file, bundle.manifest.name)
    costs = NetworkCosts(bundle, config)
    off = costs.cycles()
    assert {name: layer.cycles for name, layer in found.layers.items()} == {
        name: cycles.elapsed for name, cycles in off.items()
    }
    assert found.cycles == pytest.approx(sum(cycles.elapsed for cycles in off.values()))
    pairs = {(node.layer, node.pattern) for node in bundle.manifest.predictors.values()}
    assert {(n, p) for n, layer in found.layers.items() for p in layer.zaps} == pairs
    for layer, text in sorted(pairs)[:6]:
        zap = found.layers[layer].zaps[text]
        pattern = Pattern.parse(text)
        assert zap.skipped[-1] == pytest.approx(costs.most_skipped(layer, pattern))
        for number in (0, 50):
            on = costs.cycles({layer: (pattern, zap.skipped[number])})
            saved = sum(off[name].elapsed - on[name].elapsed for name in off)
            assert zap.saved[number] == pytest.approx(saved, abs=1e-6)


def test_costs_of_a_small_map_are_the_mean_of_what_images_take() -> None:
    """A map of 2x2 leaves two activations to the predictor: 0, 1 or 2 of them are skipped."""
    bundle, _ = find_network("vgg16-cifar-quarter").load()
    config = PRESETS["small"]
    costs = NetworkCosts(bundle, config)
    half = Pattern(2, 1)
    found = network_costs(bundle, config).layers["features.40"].zaps["B"]
    none, one, both = (costs.saved("features.40", half, n / 4) for n in range(3))
    assert none <= one < both
    assert one != pytest.approx((none + both) / 2, abs=100)
    assert found.saved[25] == pytest.approx((none + 2 * one + both) / 4)
    assert found.saved[10] == pytest.approx(0.64 * none + 0.32 * one + 0.04 * both)


def test_a_bundle_that_does_not_fit_has_no_costs() -> None:
    ((bundle, _),) = random_runs(TINY, 1, seed=11)
    with pytest.raises(UserError, match="configuration 'less' has"):
        network_costs(bundle, replace(TINY, name="less", ofm_words=16, ifm_words=16))
