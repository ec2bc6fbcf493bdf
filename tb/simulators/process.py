"""Calls cocotb's runner in a process of its own, so that simulations can run at the same time.

`tb.simulators.cocotb_process` is that process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from tb.paths import REPOSITORY
from tb.simulators.toolchain import Simulator, Tool

__all__ = ["call_runner", "runner_threads"]

_UNWANTED = re.compile(
    r"(COCOTB|GPI|PYGPI)_.*|WAVES|GUI|PYTEST_.*|SIM_CMD_.*|M(AKE)?FLAGS|MAKELEVEL"
)
"""Environment variables that would change what a simulator does."""


_RUNNING: set[subprocess.Popen[str]] = set()
"""Calls that are running, in any thread."""
_STOPPED = threading.Event()
"""Set from an interruption on: a call that a thread begins even so ends at once."""


def call_runner(
    sim: Simulator,
    step: Literal["build", "test"],
    arguments: Mapping[str, Any],
    *,
    tool: Tool,
    environment: Mapping[str, str],
    log: Path,
    timeout: float | None = None,
    compilers: int | None = None,
) -> int | None:
    """Call `Runner.build` or `Runner.test` of cocotb's runner for a simulator.

    Whatever the call started ends with it, also if this process is interrupted.

    Parameters
    ----------
    arguments : mapping
        Those of the method, as JSON can hold them.
    tool : Tool
        The simulator that was found.
    environment : mapping
        Further variables that it needs.
    log : Path
        Gets everything that is printed.
    timeout : float, optional
        Seconds of wall time.
    compilers : int, optional
        How many may run at a time.

    Returns
    -------
    int or None
        The exit status, or None if the call took longer than `timeout`.
    """
    kept = {name: value for name, value in os.environ.items() if not _UNWANTED.fullmatch(name)}
    request: dict[str, Any] = {"sim": sim, "step": step, "arguments": dict(arguments)}
    if compilers is not None:
        request["compilers"] = compilers
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tb.simulators.cocotb_process"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={
                **kept,
                **tool.environment,
                "PATH": tool.path,
                "COCOTB_ANSI_OUTPUT": "0",
                "PYTHONUNBUFFERED": "1",
                **environment,
            },
            start_new_session=True,
            text=True,
        )
        _RUNNING.add(process)
        if _STOPPED.is_set():
            _end(process)
        try:
            process.communicate(json.dumps(request), timeout=timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _RUNNING.discard(process)
            if process.poll() is None:
                _end(process)
                process.wait()
    return process.returncode


@contextmanager
def runner_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that call the runner. An error or Ctrl-C ends at once what they have started."""
    try:
        with ThreadPoolExecutor(count) as pool:
            try:
                yield pool
            except BaseException:
                _STOPPED.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(_RUNNING):
                    _end(process)
                raise
    finally:
        _STOPPED.clear()


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.killpg(process.pid, signal.SIGKILL)
