"""The error of a simulation that ended without a result."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SimulationError", "end_of_log"]

_LINES = 30


class SimulationError(RuntimeError):
    """A build that failed, or a simulation that ended without a result.

    The message holds the end of the log where there is one.
    """


def end_of_log(log: Path) -> str:
    """Return the last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LINES:])
