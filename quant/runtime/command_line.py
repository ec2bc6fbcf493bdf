"""The command line that this process was started with."""

from __future__ import annotations

import shlex
import sys

__all__ = ["command_line"]


def command_line(module: str) -> str:
    """Return the command line that started this process, for a module of this project.

    Results record it, so that they can be made again.
    """
    return shlex.join(["python", "-m", module, *sys.argv[1:]])
