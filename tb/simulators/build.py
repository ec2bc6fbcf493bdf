"""Builds Verilog for a simulator.

    built = build_design("verilator", [top_v], "top")

A build is kept in a folder whose name contains a digest of everything that it is made of, so an
unchanged design is built once. The simulator's compiler runs in a process of its own:
`build_design` may be called from several threads at a time.

Verilator keeps only the top module's ports visible to the bench, and the signals in `probes`.
cocotb's default keeps every signal visible, which forbids most optimisation.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb

from golden.errors import UserError
from tb.paths import BUILDS
from tb.simulators.build_cache import build_once, digest
from tb.simulators.errors import SimulationError, end_of_log
from tb.simulators.process import call_runner
from tb.simulators.toolchain import Simulator, Tool, find, native_processor

__all__ = ["Build", "build_design"]

_TIMESCALE = ("1ns", "1ps")

# Undefined values become whatever is fastest: Icarus is the one that shows an X. `-O3` changes
# nothing measurable. cocotb's `--public-flat-rw` halves the speed; the last flag takes it back.
_VERILATOR_ARGS = ("--x-assign", "fast", "--x-initial", "fast", "--no-public-flat-rw")

# The C++ compiler's effort on code that runs every cycle. 8 PEs of 16 lanes: 131,000 cycles/s at
# -O0, 533,000 at -O1, 526,000 at -O2, 486,000 at -Os; -O1 builds no slower than these.
_OPT_FAST = "-O1"

# For runs of millions of cycles: a longer compilation, for this machine's processor, also of
# Verilator's run-time library, which takes a tenth of the time. Profile-guided optimisation
# brought nothing beyond that.
_LONG_RUNS = "-O2 -march=native"

# Nothing but the executable is needed; precompiled headers alone are 150 MB a build.
_LEFTOVERS = ("*.gch", "*.o", "*.a")


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
        Where it lies; ``build.log`` in it is what the simulator printed.
    waves : bool
        Whether a run writes a waveform.
    cached : bool
        Whether it had been built before.
    seconds : float
        How long building took; 0 if it was cached.
    """

    sim: Simulator
    toplevel: str
    directory: Path
    waves: bool
    cached: bool
    seconds: float


def build_design(
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
    long_runs: bool = False,
    compilers: int | None = None,
) -> Build:
    """Build `sources` unless the same sources were built the same way before.

    Parameters
    ----------
    sim : "icarus" or "verilator"
    sources : sequence of Path
        Verilog files, and Verilator's ``.vlt`` files, which Icarus is not given. Files that they
        include or read do not count when it is decided whether a build is still good.
    toplevel : str
        The module whose ports the bench sees.
    parameters : mapping
        Verilog parameters of the top module.
    defines : mapping
        Verilog macros.
    probes : sequence of (module, variable)
        Further signals that the bench reads under Verilator, wherever the module is instantiated;
        ``*`` stands for any text. Icarus shows everything anyway.
    verilator_args : sequence of str
        For Verilator only. They can change which warnings are fatal; by default those that
        Verilator shows without ``-Wall`` are.
    waves : bool
        Whether runs write a waveform. Such a build is slower, and kept apart.
    long_runs : bool
        Whether to build longer for Verilator, with a faster simulation: worth it from some
        millions of cycles on (`python -m bench.simulation`). Such a build is kept apart too.
    compilers : int, optional
        How many may run at a time; default: one per CPU.

    Raises
    ------
    SimulatorMissing
        If `sim` is not there.
    UserError
        If a source is not there.
    SimulationError
        If the simulator rejects the design. The message holds the end of its log.
    """
    tool = find(sim)
    for source in sources:
        if not Path(source).is_file():
            raise UserError(f"{source}: no such Verilog file")
    if sim == "icarus":
        sources = [source for source in sources if Path(source).suffix != ".vlt"]
        arguments: list[str] = []
    else:
        arguments = [*_VERILATOR_ARGS, *verilator_args]
    effort = {"OPT_FAST": _OPT_FAST}
    processor = ""
    if long_runs and sim == "verilator":
        effort = {"OPT_FAST": _LONG_RUNS, "OPT_GLOBAL": _LONG_RUNS}
        processor = native_processor(tool)
    visible = _verilator_visibility(toplevel, probes) if sim == "verilator" else ""
    settings: dict[str, Any] = {
        "sim": sim,
        "version": tool.version,
        "cocotb": [cocotb.__version__, str(Path(cocotb.__file__).parent)],
        "toplevel": toplevel,
        "parameters": dict(parameters or {}),
        "defines": dict(defines or {}),
        "arguments": arguments,
        "visible": visible,
        "opt": [effort, processor, dict(tool.make)],
        "waves": waves,
        "names": [Path(source).name for source in sources],
    }
    key = digest(
        json.dumps(settings, sort_keys=True).encode(), *(Path(s).read_bytes() for s in sources)
    )
    directory = build_root.resolve() / f"{sim}-{toplevel}-{key[:12]}"

    def build() -> None:
        files = [str(Path(source).resolve()) for source in sources]
        if visible:
            control = directory / "visible.vlt"
            control.write_text(visible)
            files.insert(0, str(control))
        log = directory / "build.log"
        code = call_runner(
            sim,
            "build",
            {
                "sources": files,
                "hdl_toplevel": toplevel,
                "parameters": settings["parameters"],
                "defines": settings["defines"],
                "build_args": arguments,
                "build_dir": str(directory),
                "timescale": _TIMESCALE,
                "waves": waves,
                "always": True,
            },
            tool=tool,
            environment={"MAKEFLAGS": _make_variables(tool, effort)},
            log=log,
            compilers=compilers or os.cpu_count() or 1,
        )
        if code != 0:
            raise SimulationError(f"{sim} cannot build {toplevel}\n{end_of_log(log)}")
        for pattern in _LEFTOVERS:
            for file in directory.glob(pattern):
                file.unlink()

    start = time.monotonic()
    fresh = build_once(directory, build)
    return Build(
        sim=sim,
        toplevel=toplevel,
        directory=directory,
        waves=waves,
        cached=not fresh,
        seconds=time.monotonic() - start if fresh else 0.0,
    )


def _verilator_visibility(toplevel: str, probes: Sequence[tuple[str, str]]) -> str:
    """Return a control file that shows the top module's ports, and `probes`, to the bench."""
    lines = ["`verilator_config", f'public_flat_rw -module "{toplevel}" -port "*"']
    lines += [f'public_flat_rd -module "{module}" -var "{name}"' for module, name in probes]
    return "\n".join(lines) + "\n"


def _make_variables(tool: Tool, effort: Mapping[str, str]) -> str:
    """Return a `MAKEFLAGS` whose variables override those in the makefiles of Verilator."""
    cache = BUILDS / f"runtime-{digest(tool.version.encode())[:12]}"
    variables = {
        **effort,
        "OBJCACHE": f"{sys.executable} {Path(__file__).with_name('object_cache.py')} {cache}",
        **tool.make,
    }
    escaped = (f"{name}=" + re.sub(r"([\\\s])", r"\\\1", v) for name, v in variables.items())
    return "-- " + " ".join(escaped)
