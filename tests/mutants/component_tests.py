"""Runs the component tests of `hw`, on Amaranth's simulator, with one planted defect after another.

    python -m tests.mutants.component_tests < REQUEST.json

The request names defects and the files of tests. The program runs all tests without a defect, and
notes for each test which defects could be planted in what it elaborates. Then it plants each defect
alone and runs the tests that elaborate it, the quickest first, until one fails. It prints a line
for each defect: its number in the request and the test that fails, or nothing.

This runs in a process of its own, because it imports `hw` rewritten (`tests.mutants.rewrite`).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from golden.files import write_file
from tb.paths import REPOSITORY
from tests.mutants import rewrite, sites

__all__ = ["OF_CORE", "OF_SYSTEM", "component_files", "find"]

OF_CORE, OF_SYSTEM = ("core", "engine", "lib", "predictor"), ("cores",)
"""Packages of tests for defects in the core, and for those in what joins several."""

_TESTS = REPOSITORY / "tests" / "hw"
_REACHED = REPOSITORY / "build" / "mutants"
_LEAST_SECONDS = 20.0
"""Seconds of CPU time that every test may take with a defect; some defects make it endless."""

Reached = dict[str, tuple[float, list[str]]]
"""Test -> seconds of CPU time, and the defects that could be planted in what it elaborates."""


def component_files(packages: Sequence[str]) -> list[Path]:
    """Files of tests that elaborate components on Amaranth's simulator.

    The tests of the whole engine are not among them: they take long, and do what the scenarios do.
    """
    folders = (_TESTS / package for package in packages)
    found = [file for folder in folders for file in sorted(folder.glob("test_*.py"))]
    return [
        file
        for file in found
        if file.name != "test_engine.py" and "amaranth_testbench" in file.read_text()
    ]


def find(
    defects: Sequence[str],
    on_progress: Callable[[int], None],
    *,
    packages: Sequence[str],
    until: float,
) -> dict[str, str]:
    """Plant defects one after another; return for each the test that finds it, or nothing.

    The tests are those of `packages`, folders of `tests/hw`.

    None begins when `time.time` is past `until`.
    """
    request = {
        "defects": list(defects),
        "files": [str(file) for file in component_files(packages)],
        "until": until,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.mutants.component_tests"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request))
        process.stdin.close()
        found = {}
        for line in process.stdout:
            number, _, test = line.rstrip("\n").partition(" ")
            found[defects[int(number)]] = test
            on_progress(len(found))
    assert process.returncode == 0, "the component tests fail without a defect"
    return found


class _Watch:
    """pytest plugin: what each test reaches, how long it takes, and which fails."""

    def __init__(self, limits: dict[str, float] | None = None) -> None:
        self._limits = limits or {}
        self.reached: Reached = {}
        self.failed = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        sites.REACHED.clear()
        begun = time.process_time()
        with _cpu_limit(self._limits.get(item.nodeid)):
            result = yield
        self.reached[item.nodeid] = (time.process_time() - begun, list(sites.REACHED))
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid


@contextmanager
def _cpu_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    if seconds is not None:
        signal.signal(signal.SIGPROF, stop)
        signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _run(tests: Sequence[str], watch: _Watch) -> int:
    """Run tests in this process; returns pytest's exit status."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not sim and not fpga and not second"]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        return pytest.main([*options, *tests], plugins=[watch])


def _reach(files: Sequence[str]) -> Reached:
    """Run every test without a defect; the result is kept until a source changes."""
    sources = [*(REPOSITORY / "hw").rglob("*.py"), *_TESTS.rglob("*.py")]
    sources += [Path(rewrite.__file__), Path(sites.__file__)]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sorted(sources)))
    digest.update("\n".join(files).encode())
    kept = _REACHED / f"reached-{digest.hexdigest()[:16]}.json"
    if not kept.is_file():
        watch = _Watch()
        if status := _run(files, watch):
            raise SystemExit(f"{watch.failed} fails without a defect, status {status}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_file(kept, json.dumps(watch.reached))
    reached: Reached = json.loads(kept.read_text())
    return reached


def main() -> None:
    request = json.load(sys.stdin)
    rewrite.install()
    reached = _reach(request["files"])
    limits = {test: _LEAST_SECONDS + 10 * seconds for test, (seconds, _) in reached.items()}
    for number, defect in enumerate(request["defects"]):
        if time.time() > request["until"]:
            break
        able = [test for test, (_, defects) in reached.items() if defect in defects]
        sites.ALONE[:] = [defect]
        watch = _Watch(limits)
        if able:
            _run(sorted(able, key=lambda test: reached[test][0]), watch)
        print(number, watch.failed, flush=True)


if __name__ == "__main__":
    main()
