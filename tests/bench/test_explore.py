"""Exploring configurations: which fit, which no other beats, on one machine or a cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import explore
from bench.designs import (
    Design,
    block_rams,
    evaluate,
    executor,
    pareto_front,
    sized_config,
)
from golden.bundle import Bundle
from golden.errors import UserError
from hw.contract.config import Config
from tb.random.networks import random_runs
from tb.random.zaps import POINT
from tests.commands import assert_refused
from tests.hw.small_configs import TINY

CONFIGS = [
    replace(TINY, name=f"v{lanes}p{pes}", lanes=lanes, pes=pes)
    for lanes in (8, 16)
    for pes in (1, 4)
]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    ((bundle, _),) = random_runs(TINY, 1, seed=21)
    return bundle


def design(cycles: int, multipliers: int, rams: int) -> Design:
    return Design(TINY, cycles, cycles, multipliers, rams)


def test_what_another_beats_everywhere_is_left_out() -> None:
    fast, small, both = design(10, 8, 4), design(30, 2, 2), design(20, 4, 4)
    beaten = [design(11, 8, 4), design(30, 2, 3), design(20, 5, 4)]
    assert pareto_front([*beaten, both, fast, small]) == [small, both, fast]


def test_more_multipliers_take_fewer_cycles_and_what_does_not_fit_is_no_design(
    bundle: Bundle,
) -> None:
    kept: dict[str, np.ndarray] = {}
    slow, *_, fast = (evaluate(bundle, POINT, kept, config) for config in CONFIGS)
    assert slow is not None
    assert fast is not None
    assert fast.cycles_off < slow.cycles_off
    assert evaluate(bundle, POINT, kept, replace(TINY, ifm_words=16)) is None


def test_several_cores_and_several_images_are_faster_for_each_image(bundle: Bundle) -> None:
    kept: dict[str, np.ndarray] = {}
    config = replace(TINY, bus_bits=32)
    one = evaluate(bundle, POINT, kept, config)
    four = evaluate(bundle, POINT, kept, config, cores=4)
    assert one is not None
    assert four is not None
    # Each core has a port's share of its own, so that four are as fast as four ports.
    assert one.cycles_off / 4 <= four.cycles_off <= one.cycles_off / 3
    assert (four.multipliers, four.block_rams) == (4 * one.multipliers, 4 * one.block_rams)
    assert (one.name, four.name) == (config.name, f"{config.name} x 4")
    together = evaluate(bundle, POINT, kept, config, images=2)
    assert together is not None
    assert together.cycles_off <= one.cycles_off
    assert together.name == f"{config.name}, 2 images"


def test_block_rams_are_counted_by_width_and_depth() -> None:
    config = Config(
        name="c",
        pes=2,
        lanes=64,
        group=8,
        ifm_words=2048,
        weight_words=512,
        ofm_words=2048,
        row_pixels=256,
    )
    # Two banks of 1024 x 512 bits: 29 each of 1024 x 18; 512 x 512: 15 of 512 x 36; 2048 x 64: 8
    # each; two lines.
    assert block_rams(config) == 2 * 29 + 15 + 4 * 8 + 2
    assert block_rams(replace(config, pes=4)) == block_rams(config) + 2 * 29
    assert block_rams(replace(config, predictor=False)) == block_rams(config) - 2
    assert block_rams(replace(config, predictor_tables=3)) == block_rams(config) + 3
    # Lines of 68 bits: two block RAMs of 36 each.
    assert block_rams(replace(config, predictor_positions=4)) == block_rams(config) + 2


def test_a_predictor_of_several_positions_has_as_many_times_the_multipliers() -> None:
    one, two = (sized_config(16, 4, 64, 1024, 64, positions) for positions in (1, 2))
    assert two.predictor_dsps == 2 * one.predictor_dsps
    assert (two.predictor_positions, two.predictor_tables) == (2, 0)
    assert two.name != one.name


def test_a_cluster_of_two_workers_finds_the_same(bundle: Bundle) -> None:
    from distributed import LocalCluster

    here = [evaluate(bundle, POINT, {}, config) for config in CONFIGS]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        executor(cluster.scheduler_address) as workers,
    ):
        futures = [workers.submit(evaluate, bundle, POINT, {}, config) for config in CONFIGS]
        assert [future.result() for future in futures] == here


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "tcp://127.0.0.1:9"
    with (
        pytest.raises(UserError, match=f"{address}: no Dask scheduler answers"),
        executor(address),
    ):
        pass


@pytest.mark.second
def test_the_users_network_is_explored_on_his_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path("examples/bundles/vgg16-cifar-quarter")
    image = tmp_path / "image.npy"
    np.save(image, np.random.default_rng(1).integers(0, 256, (3, 32, 32), np.uint8))
    sizes = ["--lanes", "8", "--pes", "1", "--ifm-kib", "32", "--ofm-words", "1024"]
    arguments = ["--bundle", str(bundle), "--point", "max-drop-1", "--image", str(image), *sizes]
    monkeypatch.setattr("sys.argv", ["explore", *arguments, "--out", str(tmp_path)])
    explore.main()
    name = Bundle.load(bundle).manifest.name
    (design,) = json.loads((tmp_path / f"{name}.json").read_text())
    assert design["cycles_on"] < design["cycles_off"]
    assert "fastest on ecp5-85: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either the NAME of a network or a --bundle"),
        (["digits", "--bundle", "build/x"], "give either the NAME of a network or a --bundle"),
        (["digits", "--point", "best"], "--point is for a --bundle"),
        (["--bundle", "nowhere"], "nowhere/manifest.json: not found"),
        (["digits", "--cores", "1", "17"], "'17' is not an integer of 1 .. 16"),
        (["digits", "--batch", "0"], "'0' is not an integer of 1 .. 64"),
    ],
)
def test_networks_that_are_not_clear_are_refused(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(explore.main, arguments, message, monkeypatch, capsys)
