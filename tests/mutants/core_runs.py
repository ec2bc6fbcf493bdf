"""Runs the core's scenarios on a core with defects built in, one after another switched on."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tb.exchange.core_files import read_outcome, write_runs
from tb.paths import REPOSITORY
from tb.runs import core
from tb.runs.watch import watching
from tb.simulators.build import Build
from tb.simulators.errors import SimulationError
from tb.simulators.run import run_bench
from tests.hw.core.scenarios import MIXED, Scenario, scenarios, verify

__all__ = ["find", "reachable"]


def reachable() -> tuple[list[str], list[str]]:
    """Identities of all defects that can be planted in the core, and in what joins several."""
    found = json.loads(_emit({"config": MIXED.to_dict(), "defects": []}))
    return found["core"], found["system"]


def find(
    defects: Sequence[str],
    on_progress: Callable[[int], None],
    *,
    known: Mapping[str, str],
    until: float,
) -> dict[str, str]:
    """Build the defects into one core; return for each the scenario that finds it, or nothing.

    Defects whose result is `known` do not run again, and none begins when `time.time` is past
    `until`.

    The outcomes with no defect satisfy `verify`. So an outcome satisfies it if, and only if, it
    equals the outcome with no defect in all that `verify` looks at.
    """
    unknown = [n for n, defect in enumerate(defects, 1) if defect not in known]
    if not unknown:
        return {defect: known[defect] for defect in defects}
    built = _build(defects)
    every = scenarios()
    found: dict[int, str] = {}
    with tempfile.TemporaryDirectory(prefix="zapcore-") as scratch:
        folder = Path(scratch)
        write_runs(folder, [run for scenario in every for run in scenario.runs])
        lines = folder / "found"
        lines.touch()
        done = len(defects) - len(unknown)
        with watching(lambda: done + len(_read(lines)), on_progress):
            while missing := [n for n in unknown if n not in found]:
                _simulate(built, folder, lines, missing, until)
                found = _read(lines)
                if time.time() > until:
                    break
                assert missing[0] in found, "the simulation ends before its first defect"
        first = 0
        for scenario in every:
            last = first + len(scenario.runs)
            verify(scenario, [read_outcome(folder, number) for number in range(first, last)])
            first = last
    results = {**known, **{defects[n - 1]: _said(every, text) for n, text in found.items()}}
    return {defect: results[defect] for defect in defects if defect in results}


def _simulate(built: Build, folder: Path, lines: Path, missing: list[int], until: float) -> None:
    """Run the bench on defects until it ends; a defect may make the simulator itself end."""
    memory_in, memory_out, switch = (folder / name for name in ("in", "out", "switch"))
    values = {
        "runs": str(folder),
        "memory_in": str(memory_in),
        "memory_out": str(memory_out),
        "switch": str(switch),
        "found": str(lines),
        "defects": missing,
        "until": until,
    }
    try:
        results = run_bench(
            built,
            "tests.mutants.bench",
            values=values,
            plusargs=[
                f"+memory_in={memory_in}",
                f"+memory_out={memory_out}",
                f"+mutant={switch}",
            ],
            run_dir=folder / "run",
        )
    except SimulationError:
        return  # the defect that was switched on is noted as one that crashes
    if results.failures:
        raise SimulationError(results.failures[0].message)


def _read(lines: Path) -> dict[int, str]:
    """Number of a defect -> what its last line says."""
    split = (line.rstrip("\n").split(" ", 1) for line in lines.read_text().splitlines(True))
    return {int(number): text for number, text in split}


def _said(every: list[Scenario], text: str) -> str:
    number, _, aspect = text.partition(" ")
    if not number.isdigit():
        return text
    run = int(number)
    for scenario in every:
        if run < len(scenario.runs):
            return f"{scenario.name}, run {run}: {aspect}"
        run -= len(scenario.runs)
    raise AssertionError(text)


def _build(defects: Sequence[str]) -> Build:
    with tempfile.TemporaryDirectory(prefix="zapcore-") as scratch:
        file = Path(scratch) / "core.v"
        _emit({"config": MIXED.to_dict(), "defects": list(defects), "file": str(file)})
        return core.build_around(file, MIXED, "verilator", verilator_args=["-Wno-fatal"])


def _emit(request: dict[str, Any]) -> str:
    """Call `tests.mutants.emit`; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants.emit"],
        input=json.dumps(request),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SimulationError(f"the defects cannot be built in\n{done.stderr}")
    return done.stdout
