"""Programs for several images on the simulated core: each image has the bits that it has alone."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compiler import batches
from compiler.build import compile_bundle
from golden.bundle import Bundle
from golden.errors import UserError
from hw.contract.config import Config
from tb.exchange.core_files import Run
from tb.random.networks import random_image, random_network
from tb.runs import core
from tests.hw.small_configs import STRIPS, TINY

pytestmark = pytest.mark.sim


def batched_runs(
    config: Config, count: int, seed: int, patch: pytest.MonkeyPatch
) -> list[tuple[Bundle, Run]]:
    """Random networks, of which any layer may run for all images at a time if it can."""
    rng = random.Random(seed)
    patch.setattr(batches, "_most_rows", lambda _: 64)
    patch.setattr(batches, "_cycles", lambda layers, *_: rng.random() / len(layers))
    pairs: list[tuple[Bundle, Run]] = []
    while len(pairs) < count:
        bundle = random_network(config, rng)
        if rng.random() < 0.5:
            manifest = bundle.manifest.model_copy(update={"operating_points": []})
            bundle = Bundle(manifest, bundle.tensors)
        images = rng.randint(2, 5)
        try:
            program = compile_bundle(bundle, config, keep=True, images=images)
        except UserError:
            continue  # too large for the configuration
        run = Run(
            program=program,
            image=torch.stack([random_image(bundle, rng) for _ in range(images)]).numpy(),
            point=rng.choice(program.points),
            latency=rng.choice([3, 40]),
            stall=rng.choice([0, 0.3]),
        )
        pairs.append((bundle, run))
    return pairs


@pytest.mark.parametrize("config", [TINY, STRIPS], ids=["tiny", "strips"])
@pytest.mark.parametrize(("count", "seed"), [(8, 1), pytest.param(60, 2, marks=pytest.mark.second)])
def test_random_networks_give_goldens_bits_for_each_image(
    config: Config, count: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {seed}")
    pairs = batched_runs(config, count, seed, monkeypatch)
    outcomes = core.run(core.build(config, "verilator"), [run for _, run in pairs])
    beside = 0
    for (bundle, run), outcome in zip(pairs, outcomes, strict=True):
        checks = core.check(bundle, run, outcome)
        assert [check.mismatch for check in checks if check.mismatch is not None] == []
        beside += sum(place.beside for place in run.program.tensors.values())
    assert beside > count / 4


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_c_driver_runs_several_images(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    pairs = []
    for bundle, run in batched_runs(STRIPS, 3, 3, monkeypatch):
        shape = run.program.tensors[run.program.input].whole_shape
        image = run.program.quantise(rng.integers(0, 256, shape, dtype=np.uint8))
        pairs.append((bundle, replace(run, image=image)))
    built = core.build(STRIPS, "verilator")
    outcomes = core.run(built, [run for _, run in pairs], bench="tb.benches.core_c_driver")
    for (bundle, run), outcome in zip(pairs, outcomes, strict=True):
        checks = core.check(bundle, run, outcome)
        assert [check.mismatch for check in checks if check.mismatch is not None] == []


@pytest.mark.second
def test_eight_images_of_a_bundle_on_the_core(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tb import sim_core  # imported here: it loads the datasets

    bundle = Path("build/digits")
    if not bundle.is_dir():
        pytest.skip("no bundle of digits: make demo")
    arguments = ["--bundle", str(bundle), "--batch", "3", "--image", "5"]
    monkeypatch.setattr("sys.argv", ["sim_core", *arguments])
    assert sim_core.main() == 0
    said = capsys.readouterr().out
    assert "each of 3 images:" in said
    assert all(f"image {number}: " in said for number in (5, 6, 7))
