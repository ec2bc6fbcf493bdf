"""Measures how fast a simulation runs in a build for long runs, and in one that builds quickly.

    python -m bench.simulation [NAME] [--config FILE] [--images N] [--rounds N] [--json FILE]

A network of `make sim-full` runs on both builds in turn, so that other work on the machine slows
both. The figures are cycles for each second of the simulator's CPU time, from the best round. Every
activation is compared with golden, and all outcomes with each other: there are no figures of a
build that differs in a bit.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.measure import LATENCY
from compiler.build import compile_bundle
from golden.arguments import Parser, positive
from golden.errors import run_cli
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.outputs import check_outputs, write_json
from tb.exchange.core_files import Outcome, Run
from tb.runs import core
from tb.runs.images import input_image
from tb.runs.whole_networks import MEMORY_END, NETWORKS, find_network
from tb.simulators.build import Build
from tb.simulators.errors import SimulationError

__all__: list[str] = []


@dataclass(frozen=True)
class Rates:
    """Cycles that a simulator runs in a second of its CPU time, in each kind of build."""

    network: str
    config: str
    cycles: int
    quick_build: float
    long_runs: float

    @property
    def ratio(self) -> float:
        """A build for long runs is so many times as fast."""
        return self.long_runs / self.quick_build


def main() -> None:
    parser = Parser(prog="python -m bench.simulation", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("name", nargs="?", default="digits", metavar="NAME", help=", ".join(NETWORKS))
    add("--config", help=f"{', '.join(PRESETS)}, or a JSON file; the network's own by default")
    add("--data", type=Path, help="folder of the network's dataset")
    add("--images", type=positive, default=8, metavar="N", help="images that a round runs")
    add("--rounds", type=positive, default=3, metavar="N", help="rounds of both builds")
    add("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    arguments = parser.parse_args()
    check_outputs(arguments.json)
    network = find_network(arguments.name)
    config = Config.load(arguments.config or network.config)
    bundle, point = network.load()
    program = compile_bundle(bundle, config, keep=True)
    runs = [
        Run(
            program=program,
            image=input_image(bundle, arguments.data, number).numpy(),
            point=point,
            latency=LATENCY,
        )
        for number in range(arguments.images)
    ]
    builds = [
        core.build(config, "verilator", end=MEMORY_END, long_runs=long_runs)
        for long_runs in (False, True)
    ]
    outcomes, (quick, long_runs) = _rates(builds, runs, arguments.rounds)
    checks = [core.check(bundle, run, outcome) for run, outcome in zip(runs, outcomes, strict=True)]
    simulated = core.Simulated(program, outcomes, checks)
    if simulated.mismatch is not None:
        raise SimulationError(f"{program.network}: {simulated.mismatch}")
    cycles = sum(outcome.totals["elapsed"] for outcome in outcomes)
    result = Rates(program.network, config.name, cycles, round(quick), round(long_runs))
    Console().print(
        f"{result.network} on {result.config}, {len(runs)} images, {result.cycles:,} cycles: "
        f"{result.quick_build:,} cycles a CPU second, built for long runs {result.long_runs:,}, "
        f"{result.ratio:.2f} times",
        highlight=False,
        soft_wrap=True,
    )
    if arguments.json is not None:
        write_json(arguments.json, {**asdict(result), "ratio": round(result.ratio, 3)})


def _rates(
    builds: Sequence[Build], runs: Sequence[Run], rounds: int
) -> tuple[list[Outcome], list[float]]:
    """Run every build in turn; return the outcomes, and each build's best rate.

    Raises SimulationError where two outcomes of a run differ.
    """
    expected: list[Outcome] = []
    best = [0.0] * len(builds)
    for _ in range(rounds):
        for number, built in enumerate(builds):
            found = core.run(built, runs)
            expected = expected or found
            _compare(expected, found)
            cycles = sum(outcome.totals["elapsed"] for outcome in found)
            rate = cycles / sum(outcome.cpu_seconds for outcome in found)
            best[number] = max(best[number], rate)
    return expected, best


def _compare(expected: list[Outcome], found: list[Outcome]) -> None:
    """Raise SimulationError unless memory, counters and outputs are the same."""
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        same = (
            np.array_equal(one.memory, other.memory)
            and np.array_equal(one.output, other.output)
            and (one.totals, one.layers, one.observed)
            == (other.totals, other.layers, other.observed)
        )
        if not same:
            raise SimulationError(f"image {number}: the two builds differ")


if __name__ == "__main__":
    run_cli(main)
