"""Progress on stderr: a bar on a terminal, a few plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

__all__ = ["progress"]

_Item = TypeVar("_Item")
_PLAIN_LINES = 4


def progress(items: Iterable[_Item], total: int, label: str) -> Iterator[_Item]:
    """Hand on `items`, of which there are `total`, telling the user how far it is."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, f"{label:<24}", total, console=console)
        return
    for done, item in enumerate(items, 1):
        yield item
        if done * _PLAIN_LINES // total > (done - 1) * _PLAIN_LINES // total:
            console.print(f"{label}: {done}/{total}", highlight=False)
