"""Solver: ABC, which proves a property for all histories, or finds one that violates it.

A property is proved by induction over a few cycles (`ind`, and `bmc3` for the base case), or by
property-directed reachability (`pdr`), which finds an inductive invariant by itself. A proof is for
histories of any length.

Induction is tried twice: on the harness as it is, and after the signals that are equal in all
histories are merged (`scorr`). Merging makes most properties inductive, but takes from some what
makes them so.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from golden.errors import UserError

__all__ = ["Answer", "Verdict", "abc_command", "check", "find", "has_abc"]

_NAMES = ("berkeley-abc", "yosys-abc", "abc")
_INDUCTION = 30
"""Seconds for an induction."""
_GRACE = 10
"""Seconds past its limit after which ABC is ended, where it does not end itself."""


class Verdict(Enum):
    """The outcome of a question."""

    PROVED = "proved"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Answer:
    """The solver's answer.

    Parameters
    ----------
    verdict : Verdict
    seconds : float
    cycles : int
        Cycles of the history that violates the property, or that none of which does.
    history : list of {input bit: value}
        The history that violates it, cycle after cycle.
    """

    verdict: Verdict
    seconds: float
    cycles: int
    history: list[dict[str, int]]


def has_abc() -> bool:
    """Say whether ABC is installed."""
    return any(map(shutil.which, _NAMES))


def abc_command() -> str:
    """ABC's command; raises UserError where there is none."""
    for name in _NAMES:
        if shutil.which(name):
            return name
    raise UserError("ABC not found: install the package berkeley-abc, or put yosys-abc on the path")


def check(aiger: Path, output: int, *, limit: int, depth: int) -> Answer:
    """Prove that an output is never high, for `limit` seconds at most.

    `depth` is the number of cycles of an induction's hypothesis.
    """
    induction = f"bmc3 -F {depth + 1}; ind -u -F {depth} -T {_INDUCTION}"
    seconds = 0.0
    for method in (induction, f"scorr; {induction}", f"scorr; pdr -T {limit}"):
        answer = _run(aiger, output, method, limit)
        seconds += answer.seconds
        if answer.verdict is not Verdict.UNDECIDED:
            break
    return replace(answer, seconds=seconds)


def find(aiger: Path, output: int, *, limit: int, cycles: int) -> Answer:
    """Look for a history of at most so many cycles in which an output is high."""
    return _run(aiger, output, f"bmc3 -F {cycles} -T {limit}", limit)


def _run(aiger: Path, output: int, method: str, limit: int) -> Answer:
    trace = aiger.with_suffix(".cex")
    trace.unlink(missing_ok=True)
    script = f"read_aiger {aiger.name}; cone -s -O {output}; {method}; write_cex -n {trace.name}"
    began = time.monotonic()
    try:
        finished = subprocess.run(
            [abc_command(), "-c", script],
            cwd=aiger.parent,
            capture_output=True,
            text=True,
            timeout=limit + _GRACE,
        )
    except subprocess.TimeoutExpired:
        return Answer(Verdict.UNDECIDED, time.monotonic() - began, 0, [])
    seconds = time.monotonic() - began
    text = finished.stdout + finished.stderr
    if asserted := re.search(r"was asserted in frame (\d+)", text):
        history = _read_trace(trace)
        return Answer(Verdict.VIOLATED, seconds, int(asserted[1]) + 1, history)
    # The base case, and the inductive case.
    induced = "Networks are equivalent" in text and "No output asserted" in text
    if "Property proved" in text or induced:
        return Answer(Verdict.PROVED, seconds, 0, [])
    if finished.returncode:
        raise RuntimeError(f"ABC failed:\n{text}")
    none = re.search(r"No output asserted in (\d+) frames", text)
    return Answer(Verdict.UNDECIDED, seconds, int(none[1]) if none else 0, [])


def _read_trace(file: Path) -> list[dict[str, int]]:
    """ABC writes NAME@CYCLE=VALUE for every input bit."""
    history: list[dict[str, int]] = []
    for name, cycle, value in re.findall(r"(\S+)@(\d+)=([01])", file.read_text()):
        while len(history) <= int(cycle):
            history.append({})
        history[int(cycle)][name] = int(value)
    return history
