"""Runs a cocotb bench on a design that was built for a simulator.

    results = run_bench(built, "tb.benches.pattern_scheduler", values={"count": 20}, seed=1)
    if results.failures: ...

The simulator runs in a process of its own: `run_bench` may be called from several threads at a
time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tb.simulators.build import Build
from tb.simulators.errors import SimulationError, end_of_log
from tb.simulators.process import call_runner
from tb.simulators.toolchain import find

__all__ = ["Failure", "Results", "run_bench"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cocotb test that failed, and the message of its exception or assertion."""

    test: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of a bench's tests.

    Members
    -------
    tests : int
        Tests that ran; those that cocotb was told to skip are not counted.
    failures : tuple of Failure
        Empty if all passed.
    log : Path
        Everything that simulator and bench printed.
    waveform : Path, optional
        The waveform, if one was asked for.
    seconds : float
        Wall time, with the start of the simulator.
    """

    tests: int
    failures: tuple[Failure, ...]
    log: Path
    waveform: Path | None
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.failures


def run_bench(
    built: Build,
    bench: str,
    *,
    run_dir: Path | None = None,
    values: Mapping[str, Any] | None = None,
    plusargs: Sequence[str] = (),
    testcase: str | Sequence[str] | None = None,
    seed: int = 1,
    timeout: float | None = None,
    echo: bool = True,
) -> Results:
    """Run the cocotb tests of the module `bench` on `built`.

    Parameters
    ----------
    built : Build
    bench : str
        Import path, seen from the repository root.
    run_dir : Path, optional
        Folder for log, results and waveform; two runs at a time need two. Default: a folder of the
        build, named after the bench.
    values : mapping, optional
        Settings for the bench: anything that JSON holds. `tb.benches.common.values` reads them
        there.
    plusargs : sequence of str
        Settings for Verilog's `$value$plusargs`, each with its `+`.
    testcase : str or sequence of str, optional
        Run only the tests of these names.
    seed : int
        Seeds Python's `random` in the bench.
    timeout : float, optional
        Seconds of wall time after which the simulation is ended.
    echo : bool
        Whether the end of the log is printed on stderr if a test fails.

    Raises
    ------
    SimulatorMissing
        If the simulator is no longer there.
    SimulationError
        If the simulator crashed or reached the time limit, or if no test of that name exists.
    """
    tool = find(built.sim)
    run_dir = (run_dir or built.directory / f"run-{bench}").resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    xml, log, values_file = run_dir / "results.xml", run_dir / "run.log", run_dir / "values.json"
    xml.unlink(missing_ok=True)
    values_file.write_text(json.dumps(dict(values or {})))
    waveform = None
    test_args: list[str] = []
    given = list(plusargs)
    if built.waves and built.sim == "icarus":
        waveform = run_dir / f"{built.toplevel}.fst"
        given.append(f"+dumpfile_path={waveform}")
    elif built.waves:
        waveform = run_dir / f"{built.toplevel}.vcd"
        test_args = ["--trace-file", str(waveform)]
    start = time.monotonic()
    code = call_runner(
        built.sim,
        "test",
        {
            "test_module": bench,
            "hdl_toplevel": built.toplevel,
            "hdl_toplevel_lang": "verilog",
            "testcase": testcase,
            "seed": seed,
            "build_dir": str(built.directory),
            "test_dir": str(run_dir),
            "results_xml": str(xml),
            "test_args": test_args,
            "plusargs": given,
            "waves": built.waves,
        },
        tool=tool,
        environment={"ZAP_VALUES": str(values_file)},
        log=log,
        timeout=timeout,
    )
    seconds = time.monotonic() - start
    if code is None:
        raise SimulationError(f"{bench}: not done after {timeout} s\n{end_of_log(log)}")
    if not xml.is_file():
        raise SimulationError(f"{bench}: the simulation ended early\n{end_of_log(log)}")
    tests, failures = _read_results(xml)
    if tests == 0:
        raise SimulationError(f"{bench}: no test ran\n{end_of_log(log)}")
    if code != 0 and not failures:
        raise SimulationError(f"{bench}: the simulator ended with {code}\n{end_of_log(log)}")
    if failures and echo:
        print(f"--- the end of {log}\n{end_of_log(log)}", file=sys.stderr)
    return Results(tests=tests, failures=failures, log=log, waveform=waveform, seconds=seconds)


def _read_results(xml: Path) -> tuple[int, tuple[Failure, ...]]:
    """Read how many tests ran, and which failed, from cocotb's JUnit file."""
    tests = 0
    failures = []
    for case in ElementTree.parse(xml).getroot().iter("testcase"):
        if case.find("skipped") is not None:
            continue
        tests += 1
        for bad in [*case.findall("failure"), *case.findall("error")]:
            message = (
                bad.get("message") or bad.get("error_msg") or (bad.text or "").strip() or "failed"
            )
            failures.append(Failure(test=case.get("name", "?"), message=message))
    return tests, tuple(failures)
