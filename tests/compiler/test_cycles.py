"""The cycle model reads programs as the core does, and agrees with what cores have counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.measure import Measurement, load_measurement
from bench.summary import model_cycles
from compiler.cycles import layer_cycles, tile_cycles
from compiler.program import DENSE
from hw.contract.program import descriptor_words
from tb.random.networks import random_runs
from tb.random.zaps import POINT
from tests.hw.small_configs import STRIPS, TINY

COUNTED = Path("docs/results/bench/counted")
EXACT_WITHIN = 0.03
"""Share of the cycles that a layer took."""
SHORT = 1000
"""Cycles. A shorter layer is mostly latency, and a small part of any network."""


def test_tiles_are_read_from_the_image_in_order_and_within_their_limits() -> None:
    for _, run in random_runs(TINY, 5, seed=3):
        program = run.program
        for point in (DENSE, POINT):
            found = program.descriptors(point)
            counts = [layer.tiles[point] for layer in program.layers]
            numbers = [number for number, count in enumerate(counts) for _ in range(count)]
            assert [words["layer"] for words in found] == numbers
            for words in found:
                for name, word in descriptor_words(TINY).items():
                    assert word.accepts(words[name]), name


def test_what_is_skipped_is_not_computed_and_slower_memory_takes_longer() -> None:
    runs = [run for _, run in random_runs(TINY, 8, seed=4)]
    scored = [words for run in runs for words in run.program.descriptors(POINT) if words["zap"]]
    assert scored
    for words in scored:
        all_kept, none_kept = (tile_cycles(TINY, words, kept) for kept in (1.0, 0.0))
        assert none_kept.busy <= all_kept.busy
        assert tile_cycles(TINY, words, 1.0, latency=200).elapsed > all_kept.elapsed


@pytest.fixture(scope="module", params=["alexnet-cifar-half", "vgg16-cifar-quarter"])
def measurement(request: pytest.FixtureRequest) -> Measurement:
    return load_measurement(COUNTED / f"{request.param}-default.json")


def test_each_layer_is_within_three_percent_of_what_was_counted(measurement: Measurement) -> None:
    model = model_cycles(measurement)
    assert model.keys() == {layer.name for layer in measurement.layers}
    for layer in measurement.layers:
        for estimate, counters in zip(model[layer.name], (layer.off, layer.on), strict=True):
            counted = counters["elapsed"]
            if counted >= SHORT:
                assert estimate == pytest.approx(counted, rel=EXACT_WITHIN), layer.name


def test_a_layer_is_the_sum_of_its_tiles() -> None:
    for _, run in random_runs(TINY, 5, seed=6):
        whole = layer_cycles(run.program, DENSE)
        alone = [tile_cycles(TINY, words) for words in run.program.descriptors(DENSE)]
        parts = [tile.behind(before) for before, tile in zip([None, *alone], alone, strict=False)]
        assert sum(layer.elapsed for layer in whole.values()) == pytest.approx(
            sum(part.elapsed for part in parts)
        )


def test_an_ifm_loaded_early_is_waited_for_only_as_far_as_the_tile_before_is_shorter() -> None:
    runs = [run for _, run in random_runs(STRIPS, 8, seed=2)]
    found = [words for run in runs for words in run.program.descriptors(DENSE) if words["early"]]
    assert found
    for words in found:
        early, late = (tile_cycles(STRIPS, {**words, "early": flag}) for flag in (1, 0))
        assert early.elapsed == late.elapsed
        whole = replace(late, last_slice=0.0)  # the tile before, with its ifm in one piece
        assert early.behind(replace(whole, compute=1e9)).load < late.behind(late).load
        short, none = (early.behind(replace(whole, compute=c, store=0)) for c in (10, 0))
        assert short.load <= none.load <= short.load + 10
