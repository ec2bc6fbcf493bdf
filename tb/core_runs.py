"""Runs of a program as work for the core's bench, and what came of them: files between processes.

A folder holds `runs.json`, `images.npz`, the programs, and for each run that is done `NUMBER.json`
and `NUMBER.bin`, the program's memory. Memory crosses into the simulator as the text that
Verilog's `$readmemh` reads: a line for each word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from compiler import files
from compiler.program import Program

__all__ = [
    "Outcome",
    "Run",
    "from_text",
    "read_outcome",
    "read_runs",
    "to_text",
    "write_outcome",
    "write_runs",
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One image through a program.

    Parameters
    ----------
    program : Program
    image : int32 (channels, height, width)
    point : str
        Operating point.
    latency : int
        Of the memory, in cycles.
    stall : float
        Share of the cycles in which each of the memory's channels stalls.
    faulty : (first, last)
        Addresses that answer with an error; none where first > last.
    event : "", "abort", "start" or "reset"
        What happens to the core while it runs.
    after : int
        Cycles from its start to that event.
    """

    program: Program
    image: np.ndarray
    point: str
    latency: int = 40
    stall: float = 0.0
    faulty: tuple[int, int] = (1, 0)
    event: str = ""
    after: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run: see `compiler.driver.Result`.

    `memory` is the program's, uint8 from its base to its end; `violations` counts breaches of the
    bus's protocol and writes outside scratch memory; `fault` is the driver's message where the core
    ended the program early, else empty.
    """

    output: np.ndarray
    memory: np.ndarray
    totals: dict[str, int]
    layers: list[dict[str, int]]
    violations: int
    fault: str = ""


def write_runs(folder: Path, runs: Sequence[Run]) -> None:
    """Write runs for `read_runs`."""
    orders = []
    saved: dict[int, str] = {}
    for run in runs:
        if id(run.program) not in saved:
            name = f"program{len(saved)}"
            files.save(run.program, folder / name)
            saved[id(run.program)] = name
        order = {field.name: getattr(run, field.name) for field in fields(run)}
        del order["image"]
        orders.append({**order, "program": saved[id(run.program)]})
    (folder / "runs.json").write_text(json.dumps(orders))
    images = {str(number): run.image for number, run in enumerate(runs)}
    np.savez(folder / "images.npz", allow_pickle=False, **images)


def read_runs(folder: Path) -> list[Run]:
    """The runs of a folder, in order; those of one program share it."""
    orders = json.loads((folder / "runs.json").read_text())
    programs = {name: files.load(folder / name) for name in {o["program"] for o in orders}}
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
        "totals": outcome.totals,
        "layers": outcome.layers,
        "violations": outcome.violations,
        "fault": outcome.fault,
    }
    (folder / f"{number}.json").write_text(json.dumps(rest))


def read_outcome(folder: Path, number: int) -> Outcome:
    """The outcome of a run."""
    rest = json.loads((folder / f"{number}.json").read_text())
    rest["output"] = np.array(rest["output"], np.int32)
    return Outcome(memory=np.fromfile(folder / f"{number}.bin", np.uint8), **rest)


def to_text(address: int, data: bytes, word: int) -> str:
    """Bytes from an address on, as words of `word` bytes; both ends are multiples of that."""
    assert address % word == len(data) % word == 0
    rows = np.frombuffer(data, np.uint8).reshape(-1, word)[:, ::-1]
    digits = rows.tobytes().hex()
    lines = [digits[i : i + 2 * word] for i in range(0, len(digits), 2 * word)]
    return "\n".join([f"@{address // word:x}", *lines, ""])


def from_text(text: str, word: int) -> np.ndarray:
    """The bytes of what `$writememh` wrote, uint8; undefined bits, where there are any, are 0."""
    lines = [line for line in text.split("\n") if not line.startswith(("@", "/"))]
    digits = "".join(lines).translate(str.maketrans("xXzZ", "0000"))
    return np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, word)[:, ::-1].flatten()
