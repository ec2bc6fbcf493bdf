"""Builds Verilog for a simulator and runs a cocotb bench on it.

    built = build("verilator", [top_v], "top")
    results = run(built, "tb.benches.pattern_scheduler", values={"layers": 20}, seed=1)
    if results.failures: ...

A build is kept in a folder named after a digest of everything that it is made of, so an unchanged
design is built once, whoever asks. Simulators run in processes of their own: `build` and `run` may
be called from several threads at a time.

Verilator is told to keep only the top module's ports visible to the bench (cocotb would keep every
signal, which forbids most optimisation); `probes` adds to them.
"""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cocotb

from golden.errors import UserError
from tb.simulators.toolchain import Simulator, SimulatorMissing, Tool, digest, find

__all__ = [
    "Build",
    "Failure",
    "Results",
    "SimulationError",
    "SimulatorMissing",
    "build",
    "run",
]

ROOT = Path(__file__).resolve().parents[2]
BUILDS = ROOT / "build" / "sim"
TIMESCALE = ("1ns", "1ps")

# Undefined values become whatever is fastest: Icarus is the one that shows an X. `-O3` changes
# nothing measurable; cocotb's `--public-flat-rw`, which the last flag takes back, halves the speed.
VERILATOR_ARGS = ("--x-assign", "fast", "--x-initial", "fast", "--no-public-flat-rw")

# What the C++ compiler spends on code that runs every cycle. 8 PEs of 16 lanes: 131,000 cycles/s at
# -O0, 533,000 at -O1, 526,000 at -O2, 486,000 at -Os; -O1 builds no slower than these.
OPT_FAST = "-O1"


class SimulationError(RuntimeError):
    """A build that failed, or a simulation that ended without a verdict; carries the log's end."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A design that is ready to be simulated.

    Members
    -------
    sim : str
        Which simulator built it.
    toplevel : str
        The module that is the bench's ``dut``.
    directory : Path
        Where it lies; ``build.log`` in it is what the simulator said.
    waves : bool
        Whether a run writes a waveform.
    cached : bool
        Whether it had been built before.
    seconds : float
        What building took; 0 if it was cached.
    """

    sim: Simulator
    toplevel: str
    directory: Path
    waves: bool
    cached: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cocotb test that failed, and what its exception or assertion said."""

    test: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a bench's tests came to.

    Members
    -------
    tests : int
        Tests that ran; those that cocotb was told to skip are not among them.
    failures : tuple of Failure
        Empty if all passed.
    log : Path
        Everything that simulator and bench printed.
    waveform : Path, optional
        The waveform, if one was asked for.
    seconds : float
        Wall time, starting the simulator included.
    """

    tests: int
    failures: tuple[Failure, ...]
    log: Path
    waveform: Path | None
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.failures


def build(
    sim: Simulator,
    sources: Sequence[Path],
    toplevel: str,
    *,
    build_root: Path = BUILDS,
    parameters: Mapping[str, int] | None = None,
    defines: Mapping[str, str] | None = None,
    probes: Sequence[tuple[str, str]] = (),
    verilator_args: Sequence[str] = (),
    waves: bool = False,
    jobs: int | None = None,
) -> Build:
    """Build `sources` unless the same sources were built the same way before.

    Parameters
    ----------
    sim : "icarus" or "verilator"
    sources : sequence of Path
        Verilog files (and Verilator's ``.vlt`` files, which Icarus is not shown). Files that they
        include or read are not looked at when deciding whether a build is still good.
    toplevel : str
        Its ports are what the bench sees.
    parameters : mapping
        Verilog parameters of the top module.
    defines : mapping
        Verilog macros.
    probes : sequence of (module, variable)
        Further signals that the bench reads under Verilator, wherever the module is instantiated;
        ``*`` stands for any text. Icarus shows everything anyway.
    verilator_args : sequence of str
        For Verilator only; the place to say which warnings are fatal (by default those that
        Verilator shows without ``-Wall`` are).
    waves : bool
        Whether runs write a waveform. Slower, so a build of its own.
    jobs : int, optional
        Compilers at a time; default: one per CPU.

    Raises
    ------
    SimulatorMissing
        If `sim` is not there.
    UserError
        If a source is not there.
    SimulationError
        If the simulator rejects the design. Its last words are in the message.
    """
    tool = find(sim)
    for source in sources:
        if not Path(source).is_file():
            raise UserError(f"{source}: no such Verilog file")
    if sim == "icarus":
        sources = [source for source in sources if Path(source).suffix != ".vlt"]
        arguments: list[str] = []
    else:
        arguments = [*VERILATOR_ARGS, *verilator_args]
    visible = _verilator_visibility(toplevel, probes) if sim == "verilator" else ""
    settings = {
        "sim": sim,
        "version": tool.version,
        "cocotb": [cocotb.__version__, str(Path(cocotb.__file__).parent)],
        "toplevel": toplevel,
        "parameters": dict(parameters or {}),
        "defines": dict(defines or {}),
        "arguments": arguments,
        "visible": visible,
        "opt": [OPT_FAST, dict(tool.make)],
        "waves": waves,
        "names": [Path(source).name for source in sources],
    }
    key = digest(
        json.dumps(settings, sort_keys=True).encode(), *(Path(s).read_bytes() for s in sources)
    )
    directory = build_root.resolve() / f"{sim}-{toplevel}-{key[:12]}"
    done = directory / "built"
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / "lock"):
        if done.exists():
            return Build(
                sim=sim,
                toplevel=toplevel,
                directory=directory,
                waves=waves,
                cached=True,
                seconds=0.0,
            )
        start = time.monotonic()
        files = [str(Path(source).resolve()) for source in sources]
        if visible:
            control = directory / "visible.vlt"
            control.write_text(visible)
            files.insert(0, str(control))
        code = _launch(
            {
                "sim": sim,
                "step": "build",
                "jobs": jobs or os.cpu_count() or 1,
                "arguments": {
                    "sources": files,
                    "hdl_toplevel": toplevel,
                    "parameters": dict(parameters or {}),
                    "defines": dict(defines or {}),
                    "build_args": arguments,
                    "build_dir": str(directory),
                    "timescale": TIMESCALE,
                    "waves": waves,
                    "always": True,
                },
            },
            environment=_environment(tool, {"MAKEFLAGS": _make_variables(tool)}),
            log=directory / "build.log",
        )
        if code != 0:
            raise SimulationError(
                f"{sim} cannot build {toplevel}\n{_tail(directory / 'build.log')}"
            )
        # Nothing but the executable is needed; precompiled headers alone are 150 MB a build.
        for pattern in ("*.gch", "*.o", "*.a"):
            for left in directory.glob(pattern):
                left.unlink()
        done.touch()
    return Build(
        sim=sim,
        toplevel=toplevel,
        directory=directory,
        waves=waves,
        cached=False,
        seconds=time.monotonic() - start,
    )


def run(
    built: Build,
    test_module: str,
    *,
    run_dir: Path | None = None,
    values: Mapping[str, Any] | None = None,
    plusargs: Sequence[str] = (),
    testcase: str | Sequence[str] | None = None,
    seed: int = 1,
    timeout: float | None = None,
    echo: bool = True,
) -> Results:
    """Run the cocotb tests of `test_module` on `built`.

    Parameters
    ----------
    built : Build
    test_module : str
        Import path, seen from the repository root.
    run_dir : Path, optional
        Where log, results and waveform go; two runs at a time need two. Default: a folder of the
        build, named after the test module.
    values : mapping, optional
        What the bench is to do: anything that JSON holds; :func:`tb.benches.setup.values` reads it
        there.
    plusargs : sequence of str
        What Verilog's `$value$plusargs` finds, each with its `+`.
    testcase : str or sequence of str, optional
        Run only the tests of these names.
    seed : int
        Seeds Python's `random` in the bench.
    timeout : float, optional
        Seconds of wall time after which the simulation is ended.
    echo : bool
        Whether the end of the log goes to stderr if a test fails.

    Raises
    ------
    SimulatorMissing
        If the simulator has gone since.
    SimulationError
        If the simulator crashed, ran into the time limit, or no test of that name exists.
    """
    tool = find(built.sim)
    run_dir = (run_dir or built.directory / f"run-{test_module}").resolve()
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
    code = _launch(
        {
            "sim": built.sim,
            "step": "test",
            "arguments": {
                "test_module": test_module,
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
        },
        environment=_environment(tool, {"ZAP_VALUES": str(values_file)}),
        log=log,
        timeout=timeout,
    )
    seconds = time.monotonic() - start
    if code is None:
        raise SimulationError(f"{test_module}: not done after {timeout} s\n{_tail(log)}")
    if not xml.is_file():
        raise SimulationError(f"{test_module}: the simulation ended early\n{_tail(log)}")
    tests, failures = _read_results(xml)
    if tests == 0:
        raise SimulationError(f"{test_module}: no test ran\n{_tail(log)}")
    if code != 0 and not failures:
        raise SimulationError(f"{test_module}: the simulator ended with {code}\n{_tail(log)}")
    if failures and echo:
        print(f"--- the end of {log}\n{_tail(log)}", file=sys.stderr)
    return Results(tests=tests, failures=failures, log=log, waveform=waveform, seconds=seconds)


def _verilator_visibility(toplevel: str, probes: Sequence[tuple[str, str]]) -> str:
    """A control file that makes the top module's ports, and `probes`, visible to the bench."""
    lines = ["`verilator_config", f'public_flat_rw -module "{toplevel}" -port "*"']
    lines += [f'public_flat_rd -module "{module}" -var "{name}"' for module, name in probes]
    return "\n".join(lines) + "\n"


def _make_variables(tool: Tool) -> str:
    """`MAKEFLAGS` that sets variables over the heads of the makefiles that Verilator writes."""
    cache = BUILDS / f"runtime-{digest(tool.version.encode())[:12]}"
    variables = {
        "OPT_FAST": OPT_FAST,
        "OBJCACHE": f"{sys.executable} {Path(__file__).with_name('object_cache.py')} {cache}",
        **tool.make,
    }
    escaped = (f"{name}=" + re.sub(r"([\\\s])", r"\\\1", v) for name, v in variables.items())
    return "-- " + " ".join(escaped)


def _environment(tool: Tool, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a simulator: the caller's, less what would change what it does."""
    unwanted = re.compile(
        r"(COCOTB|GPI|PYGPI)_.*|WAVES|GUI|PYTEST_.*|SIM_CMD_.*|M(AKE)?FLAGS|MAKELEVEL"
    )
    kept = {name: value for name, value in os.environ.items() if not unwanted.fullmatch(name)}
    return {
        **kept,
        **tool.environment,
        "PATH": tool.path,
        "COCOTB_ANSI_OUTPUT": "0",
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


def _launch(
    job: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    log: Path,
    timeout: float | None = None,
) -> int | None:
    """Do `job` in a process of its own; its exit status, or None if it took longer than `timeout`.

    Whatever the job started ends with it, also if this process is interrupted.
    """
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tb.simulators.cocotb_process"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=dict(environment),
            start_new_session=True,
            text=True,
        )
        try:
            process.communicate(json.dumps(job), timeout=timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return process.returncode


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold `path` against other processes (and threads) that build the same."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_results(xml: Path) -> tuple[int, tuple[Failure, ...]]:
    """Number of tests that ran, and the failures among them, from cocotb's JUnit file."""
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


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
