"""Runs a program on several simulated cores at once and compares every tensor with golden."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from golden.bundle import Bundle
from hw.contract.system import System
from hw.verilog_output import write_cores
from tb.exchange.core_files import (
    Outcome,
    Progress,
    Run,
    read_elapsed,
    read_outcome,
)
from tb.paths import VERILOG
from tb.runs import core
from tb.simulators.build import Build
from tb.simulators.toolchain import Simulator

__all__ = ["Group", "build", "mismatches", "run"]


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
    return core.build_around(write_cores(system, VERILOG)[0], system, sim, end=end)


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
    word = system.memory_bits // 8
    with core.simulation(
        built, runs, bench, values={"word": word}, on_progress=on_progress
    ) as folder:
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
