"""Runs programs on the simulated core and compares every tensor in memory with golden."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from amaranth.utils import ceil_log2

from compiler.cycles import layer_cycles
from compiler.program import DENSE, Program
from compiler.rewriting.rewrites import as_the_core_runs_it
from golden.bundle import Bundle
from golden.layers import Counters
from golden.network import Network
from hw.contract.config import Config
from hw.contract.counters import STORED_BYTES
from hw.contract.system import System
from hw.verilog_output import core_name, cores_name, write_core
from quant.runtime.progress import Reporter
from tb.exchange.core_files import Outcome, Progress, Run, read_outcome, read_progress, write_runs
from tb.paths import VERILOG
from tb.runs.engine import LINT, difference
from tb.runs.watch import watching
from tb.simulators.build import Build, build_design
from tb.simulators.errors import SimulationError
from tb.simulators.run import run_bench
from tb.simulators.toolchain import Simulator

__all__ = [
    "LEAST_MEMORY",
    "LayerCheck",
    "Simulated",
    "build",
    "build_around",
    "build_bare",
    "check",
    "run",
    "simulate",
    "simulation",
]

LEAST_MEMORY = 4 << 20
"""Bytes of memory for every smaller program, so that one build serves all of these."""

_LAST_STORE = 256
"""Cycles, beside the memory's latency, in which a program's last counters are stored."""

_RTL = Path(__file__).parents[1] / "rtl"


@dataclass(frozen=True)
class LayerCheck:
    """A layer of a run that was compared with golden; see `tb.runs.engine.Check`."""

    name: str
    counters: dict[str, int]
    compared: int
    differ: int
    mismatch: str | None


@dataclass(frozen=True)
class Simulated:
    """Runs of one program: their outcomes, and each outcome compared with golden."""

    program: Program
    outcomes: list[Outcome]
    checks: list[list[LayerCheck]]

    @property
    def mismatch(self) -> str | None:
        """The first difference in words, or None."""
        every = (check.mismatch for checks in self.checks for check in checks)
        return next((mismatch for mismatch in every if mismatch is not None), None)

    def __str__(self) -> str:
        every = [check for checks in self.checks for check in checks]
        cycles = sum(check.counters["elapsed"] for check in every)
        rate = cycles / sum(outcome.seconds for outcome in self.outcomes)
        return (
            f"{len(self.program.layers)} layers, {sum(check.compared for check in every)} "
            f"activations compared, {sum(check.differ for check in every)} differ, "
            f"{cycles} cycles, {rate:.0f} cycles/s"
        )


def simulate(
    bundle: Bundle,
    runs: Sequence[Run],
    sim: Simulator,
    report: Reporter,
    *,
    end: int = 0,
    waves: bool = False,
    long_runs: bool = False,
) -> Simulated:
    """Build the core, run a bundle's program on it, and compare every layer of every run.

    Programs that are given the same `end` of memory share a build of the simulator.
    """
    program = runs[0].program
    report(f"{sim}: build", 0, 1)
    end = max(program.end, end)
    built = build(program.config, sim, end=end, waves=waves, long_runs=long_runs)
    report(f"{sim}: build", 1, 1)
    start = time.monotonic()
    weights = [round(layer.elapsed) for layer in layer_cycles(program).values()]
    label = f"{program.network} on {program.config.name}, {sim}"

    def show(at: Progress) -> None:
        seconds = time.monotonic() - start
        done, total, detail = _position(program, weights, len(runs), at, seconds)
        report(label, done, total, detail)

    outcomes = run(built, runs, on_progress=show)
    checks = [check(bundle, run, outcome) for run, outcome in zip(runs, outcomes, strict=True)]
    return Simulated(program, outcomes, checks)


def build(
    config: Config, sim: Simulator, *, end: int = 0, waves: bool = False, long_runs: bool = False
) -> Build:
    """Build the core beside a memory up to the address `end`, unless that was done before."""
    source = write_core(config, VERILOG)[0]
    return build_around(source, config, sim, end=end, waves=waves, long_runs=long_runs)


def build_around(
    source: Path,
    design: Config | System,
    sim: Simulator,
    *,
    end: int = 0,
    waves: bool = False,
    long_runs: bool = False,
    verilator_args: Sequence[str] = (),
) -> Build:
    """Build a design beside a memory up to the address `end`; its Verilog was written before.

    It is a core, or a system of several.
    """
    if isinstance(design, System):
        config, bus_bits, name = design.config, design.memory_bits, cores_name(design)
        several = {"CORES": design.cores, "CORE_BITS": design.core_bits}
    else:
        config, bus_bits, name, several = design, design.bus_bits, core_name(design), {}
    return build_design(
        sim,
        [source, _RTL / "axi_memory.v", _RTL / "core_in_memory.v", LINT],
        "core_in_memory",
        parameters={
            "DATA_BITS": bus_bits,
            "ADDRESS_BITS": config.address_bits,
            "WORD_BITS": ceil_log2(max(end, LEAST_MEMORY) * 8 // bus_bits),
            **several,
        },
        defines={"ZAPCORE": name},
        verilator_args=["--timing", *verilator_args],
        waves=waves,
        long_runs=long_runs,
    )


def build_bare(config: Config, sim: Simulator) -> Build:
    """Build the core alone, for `tb.benches.core_cocotbext`."""
    source = write_core(config, VERILOG)[0]
    return build_design(sim, [source, LINT], core_name(config))


def run(
    built: Build,
    runs: Sequence[Run],
    *,
    bench: str = "tb.benches.core",
    on_progress: Callable[[Progress], None] = lambda progress: None,
    plusargs: Sequence[str] = (),
) -> list[Outcome]:
    """Run every run in one simulation, one after another; the memory must hold each program.

    Raises SimulationError where the bench itself fails.
    """
    with simulation(built, runs, bench, on_progress=on_progress, plusargs=plusargs) as folder:
        return [read_outcome(folder, number) for number in range(len(runs))]


@contextmanager
def simulation(
    built: Build,
    runs: Sequence[Run],
    bench: str,
    *,
    values: Mapping[str, object] | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    plusargs: Sequence[str] = (),
) -> Iterator[Path]:
    """Run a bench on runs; the folder has the outcomes, and goes when the context ends.

    `values` are handed to the bench beside the names of its files.
    Raises SimulationError where the bench itself fails.
    """
    with tempfile.TemporaryDirectory(prefix="zapcore-") as scratch:
        folder = Path(scratch)
        write_runs(folder, runs)
        memory_in, memory_out = folder / "memory_in", folder / "memory_out"
        files = {
            "runs": str(folder),
            "memory_in": str(memory_in),
            "memory_out": str(memory_out),
        }
        with watching(lambda: read_progress(folder), on_progress):
            results = run_bench(
                built,
                bench,
                values={**files, **(values or {})},
                plusargs=[f"+memory_in={memory_in}", f"+memory_out={memory_out}", *plusargs],
                run_dir=built.directory / "run" if built.waves else folder / "run",
            )
        if results.failures:
            done = read_progress(folder).runs
            raise SimulationError(f"{built.sim}: run {done}: {results.failures[0].message}")
        yield folder


def check(bundle: Bundle, run: Run, outcome: Outcome) -> list[LayerCheck]:
    """Compare every layer's ofm and counters with golden; the program must keep all tensors.

    Raises SimulationError where the driver reads another output, the run ended early, the bus's
    protocol was violated, a burst left the window, or something was written outside the program's
    scratch memory.
    """
    program = run.program
    if outcome.fault:
        raise SimulationError(f"{program.network}: {outcome.fault}")
    if outcome.violations:
        raise SimulationError(f"{program.network}: {outcome.violations} violations on the bus")
    if outcome.observed:
        _check_observed(run, outcome)
    bundle = as_the_core_runs_it(bundle, program.config)
    network, predictors = (bundle, {}) if run.point == DENSE else bundle.at(run.point)
    place = program.tensors[program.input]
    image = torch.from_numpy(run.image.reshape(-1, *place.shape))
    steps = {step.node.output: step for step in Network(network, predictors).steps(image)}
    counted = {step.node.name: step.result.counters for step in steps.values() if step.result}
    checks = []
    for layer, counters in zip(program.layers, outcome.layers, strict=True):
        place = program.tensors[layer.output]
        first = place.address - len(program.image)
        actual = place.unpack(outcome.memory[first : first + place.size].tobytes())
        expected = steps[layer.output].ofm.numpy().reshape(place.whole_shape)
        golden = counted.get(layer.name, Counters(counters["computed"], 0, 0))
        differ, mismatch = difference(layer.name, actual, expected, counters, golden)
        checks.append(LayerCheck(layer.name, counters, expected.size, differ, mismatch))
    for name, ofm in {program.output: outcome.output, **outcome.other_outputs}.items():
        shape = program.tensors[name].whole_shape
        if not torch.equal(torch.from_numpy(ofm), steps[name].ofm.reshape(shape)):
            raise SimulationError(f"{program.network}: the driver reads another output {name!r}")
    return checks


def _check_observed(run: Run, outcome: Outcome) -> None:
    """Compare what the core counted with what the bus did.

    The core's counters end with its last tile; then it stores them and waits for the response.
    Raises SimulationError where they differ.
    """
    program, totals, observed = run.program, outcome.totals, outcome.observed
    stored = STORED_BYTES // program.config.bus_bytes
    expected = {
        "beats_read": (totals["beats_read"], totals["beats_read"]),
        "beats_written": (totals["beats_written"] + stored, totals["beats_written"] + stored),
        "elapsed": (totals["elapsed"], totals["elapsed"] + run.latency + _LAST_STORE),
    }
    if run.stall:
        del expected["elapsed"]
    for counter in expected.keys() & observed.keys():
        low, high = expected[counter]
        if not low <= observed[counter] <= high:
            raise SimulationError(
                f"{program.network}, counter {counter}: the core counts {totals[counter]}, "
                f"the bus {observed[counter]}, not {low} to {high}"
            )


def _position(
    program: Program, weights: list[int], runs: int, at: Progress, seconds: float
) -> tuple[int, int, str]:
    """Return how much is done, of how much, and a description of where the core is.

    `weights` are the cycles that the model expects of each layer without ZAP.
    """
    whole = sum(weights)
    before, after = sum(weights[: at.layer]), sum(weights[: at.layer + 1])
    here = min(max(at.cycles, before), after) if at.cycles else 0
    done, total = min(at.runs * whole + here, runs * whole), runs * whole
    detail = f"{at.runs} of {runs} runs done"
    if here:
        layer = program.layers[at.layer].name
        detail += f", layer {layer} ({at.layer + 1}/{len(weights)}), {at.cycles:,} cycles"
    if 0 < done < total:
        detail += f", {done / seconds:,.0f} cycles/s, {seconds * (total - done) / done:,.0f} s left"
    return done, total, detail
