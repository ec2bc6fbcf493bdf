"""Progress on stderr: bars on a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from golden.terminal import Console

__all__ = ["Reporter", "progress", "reporting"]

_Item = TypeVar("_Item")
_PLAIN_STEPS = 4
"""A label gets a plain line at its start and for each of so many equal parts that are done."""


class Reporter(Protocol):
    """Takes reports from any thread."""

    def __call__(self, label: str, done: int, total: int, detail: str = "") -> None:
        """Report how much of the work of that label is done; `detail` says more in words."""


def progress(items: Iterable[_Item], total: int, label: str) -> Iterator[_Item]:
    """Hand on `items`, of which there are `total`, and show how many were handed on."""
    with reporting() as report:
        report(label, 0, total)
        for done, item in enumerate(items, 1):
            yield item
            report(label, done, total)


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Show everything that is reported until the block ends; each label has a bar of its own."""
    console = Console(stderr=True)
    lock = threading.Lock()
    if not console.is_terminal:
        shown: dict[str, int] = {}

        def line(label: str, done: int, total: int, detail: str = "") -> None:
            step = done * _PLAIN_STEPS // max(total, 1)
            with lock:
                if shown.get(label) != step:
                    shown[label] = step
                    console.print(f"{label}: {detail or f'{done}/{total}'}", highlight=False)

        yield line
        return
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {}

        def bar(label: str, done: int, total: int, detail: str = "") -> None:
            with lock:
                if label not in tasks:
                    tasks[label] = bars.add_task(label, total=total, detail=detail)
                bars.update(tasks[label], completed=done, detail=detail)

        yield bar
