"""Runs a program on several simulated cores at once and compares every tensor with golden."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amaranth.utils import ceil_log2

from golden.bundle import Bundle
from hw import verilog_output
from hw.contract.system import System
from tb.exchange.core_files import (
    Outcome,
    Progress,
    Run,
    read_elapsed,
    read_outcome,
    read_progress,
    write_runs,
)
from tb.paths import VERILOG
from tb.runs import core
from tb.runs.engine import LINT
from tb.runs.watch import watching
from tb.simulators.build import Build, build_design
from tb.simulators.errors import SimulationError
from tb.simulators.run import run_bench
from tb.simulators.toolchain import Simulator

__all__ = ["Group", "build", "mismatches", "run"]

_RTL = Path(__file__).parents[1] / "rtl"


@dataclass(frozen=True)
class Group:
    """Images that ran at the same time, one on each core.

    Parameters
    ----------
    outcomes : list of Outcome
        In the order of the cores; the memory of each is its own scratch memory.
    elapsed : int
        Cycles from the first core's start to the last one's interrupt.
    """

    outcomes: list[Outcome]
    elapsed: int


def build(system: System, sim: Simulator, *, end: int) -> Build:
    """Build several cores beside a memory up to the address `end`, unless that was done before."""
    sources = [
        verilog_output.write_cores(system, VERILOG)[0],
        _RTL / "axi_memory.v",
        _RTL / "cores_in_memory.v",
        LINT,
    ]
    return build_design(
        sim,
        sources,
        "cores_in_memory",
        parameters={
            "CORES": system.cores,
            "CORE_BITS": system.core_bits,
            "DATA_BITS": system.memory_bits,
            "ADDRESS_BITS": system.config.address_bits,
            "WORD_BITS": ceil_log2(max(end, core.LEAST_MEMORY) * 8 // system.memory_bits),
        },
        defines={"ZAPCORE": verilog_output.cores_name(system)},
        verilator_args=["--timing"],
    )


def run(
    built: Build,
    system: System,
    runs: Sequence[Run],
    *,
    bench: str = "tb.benches.cores",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Group]:
    """Run the images in groups of as many as there are cores, in one simulation.

    The runs of a group have the same program, operating point and memory.
    Raises SimulationError where the bench itself fails, or a core ends its program early.
    """
    with tempfile.TemporaryDirectory(prefix="zapcore-") as scratch:
        folder = Path(scratch)
        write_runs(folder, runs)
        memory_in, memory_out = folder / "memory_in", folder / "memory_out"
        values = {
            "runs": str(folder),
            "memory_in": str(memory_in),
            "memory_out": str(memory_out),
            "word": system.memory_bits // 8,
        }
        with watching(lambda: read_progress(folder), on_progress):
            results = run_bench(
                built,
                bench,
                values=values,
                plusargs=[f"+memory_in={memory_in}", f"+memory_out={memory_out}"],
                run_dir=folder / "run",
            )
        if results.failures:
            raise SimulationError(f"{built.sim}: {results.failures[0].message}")
        elapsed = read_elapsed(folder)
        outcomes = [read_outcome(folder, number) for number in range(len(runs))]
        firsts = range(0, len(runs), system.cores)
        return [
            Group(outcomes[first : first + system.cores], cycles)
            for first, cycles in zip(firsts, elapsed, strict=True)
        ]


def mismatches(bundle: Bundle, runs: Sequence[Run], groups: Sequence[Group]) -> list[str]:
    """Compare every layer's ofm and counters with golden; return the differences in words.

    The program must keep all tensors. Raises SimulationError as `tb.runs.core.check` does.
    """
    outcomes = [outcome for group in groups for outcome in group.outcomes]
    checks = [
        check
        for run, outcome in zip(runs, outcomes, strict=True)
        for check in core.check(bundle, run, outcome)
    ]
    return [check.mismatch for check in checks if check.mismatch is not None]
