"""Runs for the core's bench, and their outcomes.

A folder holds `runs.json`, `images.npz` and the programs. For each run that is done it holds
`NUMBER.json` and `NUMBER.bin`, the program's scratch memory. `progress` says how far the present
run is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from compiler import program_file
from compiler.program import Program
from golden.arithmetic import ceil_div
from golden.files import write_file
from hw.contract.bus import PAGE_BITS

__all__ = [
    "Outcome",
    "Progress",
    "Run",
    "read_elapsed",
    "read_outcome",
    "read_progress",
    "read_runs",
    "write_elapsed",
    "write_outcome",
    "write_progress",
    "write_runs",
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One image through a program, or as many as it runs at a time.

    Parameters
    ----------
    program : Program
    image : int32 (channels, height, width), or (images, channels, height, width)
    point : str
        Operating point.
    latency : int
        The memory's, in cycles.
    stall : float
        Share of the cycles in which each of the memory's channels stalls.
    base : int
        Bus address of the window, a multiple of 4096.
    pages : int
        Pages of the window; 0 for as many as the program needs.
    writes_anywhere : bool
        The program may write to all of the window, not to its scratch memory only.
    faulty : (first, last)
        Offsets into the window that answer with an error; none where first > last.
    event : "", "abort", "start" or "reset"
        What happens to the core while it runs.
    after : int
        Cycles from its start to that event; a run that ends sooner has none.
    """

    program: Program
    image: np.ndarray
    point: str
    latency: int = 40
    stall: float = 0.0
    base: int = 0x4000_0000
    pages: int = 0
    writes_anywhere: bool = False
    faulty: tuple[int, int] = (1, 0)
    event: str = ""
    after: int = 0

    @property
    def size(self) -> int:
        """Bytes of the window."""
        return (self.pages or ceil_div(self.program.end, 1 << PAGE_BITS)) << PAGE_BITS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run; see also `compiler.driver.Result`.

    `memory` is the program's scratch memory, uint8. `seconds` is the wall time of the run, and
    `cpu_seconds` the CPU time of simulator and bench. `violations` counts violations of the bus's
    protocol, bursts outside the window, and writes outside scratch memory. `fault` is the driver's
    message where the core ended the program early, else empty. `observed` holds what the bus
    counted by itself of `hw.contract.counters.CORE_COUNTERS` up to the interrupt; it is empty where
    the memory does not count.
    """

    output: np.ndarray
    other_outputs: dict[str, np.ndarray]
    memory: np.ndarray
    totals: dict[str, int]
    layers: list[dict[str, int]]
    seconds: float
    cpu_seconds: float
    violations: int
    observed: dict[str, int]
    fault: str = ""


@dataclass(frozen=True)
class Progress:
    """The position of a bench in its runs.

    Parameters
    ----------
    runs : int
        Runs that are done.
    layer : int
        Layer that the present run is in.
    cycles : int
        Cycles that the present run has taken.
    """

    runs: int
    layer: int
    cycles: int


def write_runs(folder: Path, runs: Sequence[Run]) -> None:
    """Write runs for `read_runs`."""
    orders = []
    saved: dict[int, str] = {}
    for run in runs:
        if id(run.program) not in saved:
            name = f"program{len(saved)}{program_file.SUFFIX}"
            program_file.save(run.program, folder / name)
            saved[id(run.program)] = name
        order = {field.name: getattr(run, field.name) for field in fields(run)}
        del order["image"]
        orders.append({**order, "program": saved[id(run.program)]})
    (folder / "runs.json").write_text(json.dumps(orders))
    images = {str(number): run.image for number, run in enumerate(runs)}
    np.savez(folder / "images.npz", allow_pickle=False, **images)


def read_runs(folder: Path) -> list[Run]:
    """Read the runs of a folder in order; runs of the same program share it."""
    orders = json.loads((folder / "runs.json").read_text())
    programs = {name: program_file.load(folder / name) for name in {o["program"] for o in orders}}
    with np.load(folder / "images.npz") as images:
        return [
            Run(**{**order, "program": programs[order["program"]]}, image=images[str(number)])
            for number, order in enumerate(orders)
        ]


def write_outcome(folder: Path, number: int, outcome: Outcome) -> None:
    """Write the outcome of a run for `read_outcome`."""
    outcome.memory.tofile(folder / f"{number}.bin")
    rest = {
        "output": outcome.output.tolist(),
        "other_outputs": {name: ofm.tolist() for name, ofm in outcome.other_outputs.items()},
        "totals": outcome.totals,
        "layers": outcome.layers,
        "seconds": outcome.seconds,
        "cpu_seconds": outcome.cpu_seconds,
        "violations": outcome.violations,
        "observed": outcome.observed,
        "fault": outcome.fault,
    }
    (folder / "progress").unlink(missing_ok=True)
    (folder / f"{number}.json").write_text(json.dumps(rest))


def read_outcome(folder: Path, number: int) -> Outcome:
    """Read the outcome of a run."""
    rest = json.loads((folder / f"{number}.json").read_text())
    rest["output"] = np.array(rest["output"], np.int32)
    others = rest["other_outputs"].items()
    rest["other_outputs"] = {name: np.array(ofm, np.int32) for name, ofm in others}
    return Outcome(memory=np.fromfile(folder / f"{number}.bin", np.uint8), **rest)


def write_elapsed(folder: Path, elapsed: Sequence[int]) -> None:
    """Write the cycles of each group of runs at the same time, for `read_elapsed`."""
    (folder / "elapsed.json").write_text(json.dumps(list(elapsed)))


def read_elapsed(folder: Path) -> list[int]:
    """Read the cycles of each group of runs at the same time."""
    return json.loads((folder / "elapsed.json").read_text())


def write_progress(folder: Path, layer: int, cycles: int) -> None:
    """Write how far the present run is, for `read_progress`."""
    write_file(folder / "progress", f"{layer} {cycles}")


def read_progress(folder: Path) -> Progress:
    """Read how far the bench of a folder is."""
    runs = len(list(folder.glob("[0-9]*.json")))
    file = folder / "progress"
    try:
        layer, cycles = map(int, file.read_text().split())
    except FileNotFoundError:  # the run has not reported yet
        layer, cycles = 0, 0
    return Progress(runs, layer, cycles)
