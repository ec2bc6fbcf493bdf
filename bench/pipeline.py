"""Runs commands that make files from files, and skips those that have nothing to do."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.errors import UserError
from golden.files import check_writable_file, write_file
from golden.terminal import Console

__all__ = ["Step", "run_steps"]


@dataclass(frozen=True)
class Step:
    """A command of this project.

    Parameters
    ----------
    name : str
    command : sequence of str
        Arguments to Python.
    reads, makes : sequences of Path
        Files that must be there before, and files that are there afterwards.
    stdout : Path or None
        One of `makes`, which gets the command's output.
    """

    name: str
    command: Sequence[str]
    reads: Sequence[Path]
    makes: Sequence[Path]
    stdout: Path | None = None


def run_steps(plan: Sequence[Step], *, force: bool = False) -> None:
    """Run the steps in turn. Raises UserError where one fails."""
    console = Console()
    for step in plan:
        missing = [path for path in step.reads if not path.exists()]
        if missing:
            say = f"skipped {step.name}: {missing[0]} is not there"
        elif not force and _is_current(step):
            say = f"up to date: {step.name}"
        else:
            command = shlex.join(["python", *step.command])
            console.print(f"{step.name}: {command}", soft_wrap=True, highlight=False)
            _run(step)
            continue
        console.print(say, soft_wrap=True, highlight=False)


def _is_current(step: Step) -> bool:
    """True if all that it makes is there and no older than what it reads."""
    if not all(path.exists() for path in step.makes):
        return False
    oldest = min(path.stat().st_mtime for path in step.makes)
    return all(path.stat().st_mtime <= oldest for path in step.reads)


def _run(step: Step) -> None:
    if step.stdout:
        check_writable_file(step.stdout)
    captured = subprocess.PIPE if step.stdout else None
    process = subprocess.run(
        [sys.executable, *step.command], stdout=captured, text=True, check=False
    )
    if process.returncode:
        raise UserError(f"{step.name}: ended with status {process.returncode}, see above")
    if step.stdout:
        write_file(step.stdout, process.stdout)
