"""Watches a simulation from outside while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["watching"]

_INTERVAL = 0.2
"""Seconds."""
_T = TypeVar("_T")


@contextmanager
def watching(look: Callable[[], _T], callback: Callable[[_T], None]) -> Iterator[None]:
    """Hand what `look` returns to `callback`, again and again, and once more when the block ends.

    Both are called from another thread until the last time.
    """
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(_INTERVAL):
            callback(look())

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        callback(look())
