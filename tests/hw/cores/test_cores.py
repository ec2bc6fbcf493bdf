"""Several cores run images at a time, with one copy of the weights: every bit is golden's."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest

from compiler.build import compile_bundle
from compiler.several_cores import for_cores
from golden.bundle import Bundle
from hw.contract.config import Config
from hw.contract.system import System
from tb.exchange.core_files import Run
from tb.random.networks import random_network
from tb.runs import cores
from tb.simulators.toolchain import Simulator
from tests.hw.small_configs import STRIPS


def random_runs(
    config: Config, rng: random.Random, count: int, *, images: int
) -> list[tuple[Bundle, list[Run]]]:
    """Random networks, each with as many images as there are cores; the memory may stall."""
    every, pixels = [], np.random.default_rng(rng.getrandbits(32))
    for number in range(count):
        bundle = random_network(config, rng)
        program = for_cores(compile_bundle(bundle, config, keep=True), images)
        point = program.points[number % len(program.points)]
        settings = {"latency": rng.choice([1, 40, 200]), "stall": rng.choice([0.0, 0.3])}
        shape = program.tensors[program.input].shape
        base = rng.getrandbits(19) << 12
        runs = [
            Run(
                program=program,
                image=program.quantise(pixels.integers(0, 256, shape, dtype=np.uint8)),
                point=point,
                base=base,
                **settings,  # type: ignore[arg-type]
            )
            for _ in range(images)
        ]
        every.append((bundle, runs))
    return every


def check(
    system: System,
    simulator: Simulator,
    *,
    count: int,
    seed: int,
    bench: str = "tb.benches.cores",
) -> None:
    every = random_runs(system.config, random.Random(seed), count, images=system.cores)
    runs = [run for _, of_network in every for run in of_network]
    built = cores.build(system, simulator, end=0)
    groups = cores.run(built, system, runs, bench=bench)
    for group, (bundle, of_network) in zip(groups, every, strict=True):
        assert cores.mismatches(bundle, of_network, [group]) == []
        assert group.elapsed >= max(outcome.totals["elapsed"] for outcome in group.outcomes)
        tensors = {outcome.memory.tobytes() for outcome in group.outcomes}
        assert len(tensors) == system.cores, "two cores have the same tensors"


@pytest.mark.sim
def test_two_cores_run_two_images() -> None:
    check(System(config=STRIPS, cores=2, memory_bits=64), "icarus", count=1, seed=4)


@pytest.mark.sim
@pytest.mark.second
@pytest.mark.parametrize(("count", "bits"), [(2, 32), (4, 128)])
def test_more_cores_and_other_ports(count: int, bits: int) -> None:
    check(System(config=STRIPS, cores=count, memory_bits=bits), "verilator", count=20, seed=count)


@pytest.mark.sim
@pytest.mark.second
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_c_driver_runs_several_cores() -> None:
    system = System(config=STRIPS, cores=4, memory_bits=128)
    check(system, "verilator", count=6, seed=9, bench="tb.benches.cores_c_driver")
