"""Runs programs on the simulated core and compares every tensor in memory with golden."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from amaranth.utils import ceil_log2

from compiler.program import DENSE
from golden.bundle import Bundle
from golden.layers import Counters
from golden.network import Network
from hw import verilog
from hw.config import Config
from tb import simulator
from tb.core_runs import Outcome, Progress, Run, read_outcome, read_progress, write_runs
from tb.engine import LINT, VERILOG, difference
from tb.progress import watching
from tb.simulator import SimulationError, Simulator

__all__ = ["LayerCheck", "build", "build_bare", "check", "run"]

_LEAST_MEMORY = 4 << 20
"""Bytes; every smaller program is simulated in this much, so that one build serves all."""

_RTL = Path(__file__).with_name("rtl")


@dataclass(frozen=True)
class LayerCheck:
    """One layer of a run compared; see `tb.engine.Check`."""

    name: str
    counters: dict[str, int]
    compared: int
    differ: int
    mismatch: str | None


def build(config: Config, sim: Simulator, *, end: int = 0, waves: bool = False) -> simulator.Build:
    """The core in a memory that reaches to the address `end`, built unless that was done before."""
    source = verilog.write(config, VERILOG)[0]
    sources = [source, _RTL / "axi_memory.v", _RTL / "core_in_memory.v", LINT]
    word_bits = ceil_log2(max(end, _LEAST_MEMORY) // config.bus_bytes)
    return simulator.build(
        sim,
        sources,
        "core_in_memory",
        parameters={"DATA_BITS": config.bus_bits, "WORD_BITS": word_bits},
        defines={"ZAPCORE": verilog.module_name(config)},
        verilator_args=["--timing"],
        waves=waves,
    )


def build_bare(config: Config, sim: Simulator) -> simulator.Build:
    """The core alone, for `tb.bench_core_judged`."""
    source = verilog.write(config, VERILOG)[0]
    return simulator.build(sim, [source, LINT], verilog.module_name(config))


def run(
    built: simulator.Build,
    runs: Sequence[Run],
    *,
    bench: str = "tb.bench_core",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Outcome]:
    """Run one after another in one simulation, on a build whose memory holds every program.

    Raises SimulationError where the bench itself fails.
    """
    with tempfile.TemporaryDirectory(prefix="zapcore-") as scratch:
        folder = Path(scratch)
        write_runs(folder, runs)
        memory_in, memory_out = folder / "memory_in", folder / "memory_out"
        values = {
            "runs": str(folder),
            "memory_in": str(memory_in),
            "memory_out": str(memory_out),
        }

        with watching(lambda: read_progress(folder), on_progress):
            results = simulator.run(
                built,
                bench,
                values=values,
                plusargs=[f"+memory_in={memory_in}", f"+memory_out={memory_out}"],
                run_dir=built.directory / "run" if built.waves else folder / "run",
            )
        if results.failures:
            done = read_progress(folder).runs
            raise SimulationError(f"{built.sim}: run {done}: {results.failures[0].message}")
        return [read_outcome(folder, number) for number in range(len(runs))]


def check(bundle: Bundle, run: Run, outcome: Outcome) -> list[LayerCheck]:
    """Compare every layer's ofm and counters with golden; the program keeps all tensors.

    Raises SimulationError where the run ended early, the bus's protocol was broken, or something
    was written outside the program's scratch memory.
    """
    program = run.program
    if outcome.fault:
        raise SimulationError(f"{program.network}: {outcome.fault}")
    if outcome.violations:
        raise SimulationError(f"{program.network}: {outcome.violations} violations on the bus")
    network, predictors = (bundle, {}) if run.point == DENSE else bundle.at(run.point)
    image = torch.from_numpy(run.image)[None]
    steps = {step.node.output: step for step in Network(network, predictors).steps(image)}
    counted = {step.node.name: step.result.counters for step in steps.values() if step.result}
    checks = []
    for layer, counters in zip(program.layers, outcome.layers, strict=True):
        place = program.tensors[layer.output]
        first = place.address - program.base - len(program.image)
        actual = place.unpack(outcome.memory[first : first + place.size].tobytes())
        expected = steps[layer.output].ofm[0].numpy()
        golden = counted.get(layer.name, Counters(counters["computed"], 0, 0))
        differ, mismatch = difference(layer.name, actual, expected, counters, golden)
        checks.append(LayerCheck(layer.name, counters, expected.size, differ, mismatch))
    return checks
