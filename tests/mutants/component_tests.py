"""Runs the component tests of `hw`, on Amaranth's simulator, with a defect planted."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tb.paths import REPOSITORY

__all__ = ["component_files", "finds", "reach"]

_TESTS = REPOSITORY / "tests" / "hw"
_CACHE = REPOSITORY / "build" / "mutants" / "reach"
_TIMEOUT = 300.0
"""Seconds of wall time after which a defect counts as found: the test never comes to an end."""


def component_files() -> list[Path]:
    """Files of tests that elaborate components of the core themselves."""
    files = (_TESTS / package for package in ("core", "engine", "lib", "predictor"))
    found = [file for folder in files for file in sorted(folder.glob("test_*.py"))]
    return [file for file in found if "amaranth_testbench" in file.read_text()]


def reach() -> dict[Path, tuple[float, set[str]]]:
    """For each file of tests, its seconds and the defects that it could find.

    That takes a run of each file; it is kept until a source or a test changes.
    """
    sources = sorted((REPOSITORY / "hw").rglob("*.py"))
    sources += sorted((REPOSITORY / "tests/mutants").glob("*.py"))
    base = hashlib.sha256(b"".join(file.read_bytes() for file in sources))
    found = {}
    for file in component_files():
        key = hashlib.sha256(base.digest() + file.read_bytes()).hexdigest()[:16]
        kept = _CACHE / f"{file.stem}-{key}.json"
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            start = time.monotonic()
            with tempfile.NamedTemporaryFile(suffix=".json") as scratch:
                code = _pytest([file], {"ZAPCORE_REACHED": scratch.name})
                assert code == 0, f"{file} fails without a defect"
                reached = json.loads(Path(scratch.name).read_text())
            kept.write_text(json.dumps([time.monotonic() - start, reached]))
        seconds, reached = json.loads(kept.read_text())
        found[file] = (seconds, set(reached))
    return found


def finds(defect: str, reached: dict[Path, tuple[float, set[str]]]) -> str:
    """Plant a defect; return the file of tests that finds it, or nothing. The quickest go first."""
    able = [file for file, (_, defects) in reached.items() if defect in defects]
    for file in sorted(able, key=lambda file: reached[file][0]):
        if _pytest([file], {"ZAPCORE_MUTANT": defect}) != 0:
            return file.relative_to(REPOSITORY).as_posix()
    return ""


def _pytest(files: list[Path], environment: dict[str, str]) -> int:
    """Run tests in a process of their own; returns its exit status, or 1 if it takes too long."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.mutants.plugin", "-q", "-x"]
    command += ["-m", "not sim and not fpga", "-p", "no:cacheprovider", *map(str, files)]
    try:
        return subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return 1
