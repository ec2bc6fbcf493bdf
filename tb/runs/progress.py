"""Progress of simulations that run at the same time: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Reporter", "reporting", "watching"]


class Reporter(Protocol):
    """Called from any thread."""

    def __call__(self, label: str, done: int, total: int, detail: str = "") -> None:
        """Say what is running, how much of it is done, of how much, and where it is in words."""


_PLAIN_STEPS = 4
_T = TypeVar("_T")


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Show whatever is reported until the block ends."""
    console = Console(stderr=True)
    lock = threading.Lock()
    if not console.is_terminal:
        shown: dict[str, int] = {}

        def line(label: str, done: int, total: int, detail: str = "") -> None:
            step = done * _PLAIN_STEPS // total
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


@contextmanager
def watching(look: Callable[[], _T], callback: Callable[[_T], None]) -> Iterator[None]:
    """Tell `callback` what `look` says, five times a second and once at the end."""
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(0.2):
            callback(look())

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        callback(look())
