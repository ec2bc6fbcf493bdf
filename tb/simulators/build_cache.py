"""Keeps builds of simulators: a design that has not changed is built once, whoever asks for it."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["build_once", "digest"]

_DONE = "built"
"""A file in the folder of a build that is complete."""


def build_once(folder: Path, build: Callable[[], None]) -> bool:
    """Call `build` unless it has filled this folder before; return whether it was called.

    The folder's name must tell apart everything that the build depends on. Other processes and
    threads that ask for the same folder wait until it is complete. A `build` that raises leaves the
    folder incomplete, and the next caller builds again.
    """
    done = folder / _DONE
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if done.exists():
            return False
        build()
        done.touch()
    return True


def digest(*parts: bytes) -> str:
    """Return a hex digest of `parts` that also depends on where each part ends."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file against every other process and thread that asks for it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
