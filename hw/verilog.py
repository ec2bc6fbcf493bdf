"""`make verilog`: writes the core as one Verilog file, and what its users must know.

`python -m hw.verilog --config tiny|small|default|FILE [--target generic|ecp5|amd] [--out DIR]`
writes `DIR/zapcore_NAME.v`, `DIR/zapcore_NAME.json` (parameters and ports), a description for
FuseSoC, the clock as constraints (SDC, XDC, LPF), the headers of the C driver, and the registers as
`DIR/zapcore.rdl` for register tools and `DIR/registers.md` for readers. With `--cores N` the module
has N cores on one memory port, and the names of its own files end in `_Ncores`.
"""

import golden.command  # noqa: F401

from pathlib import Path

from golden.arguments import Parser
from golden.errors import run_cli
from hw.contract.config import PRESETS, Config
from hw.contract.system import add_system_options, chosen_system
from hw.fpga.blocks import Amd, Ecp5
from hw.verilog_output import write_core, write_cores

__all__: list[str] = []

TARGETS = {"generic": None, "ecp5": Ecp5(), "amd": Amd()}


def main() -> None:
    parser = Parser(prog="hw.verilog", description=__doc__)
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument(
        "--out", type=Path, default=Path("build/verilog"), help="folder to write to"
    )
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="generic",
        help="whose multipliers and flip-flops: those of an ECP5, AMD's DSP48 with two products "
        "each, or what the tools make of plain Verilog",
    )
    add_system_options(parser)
    arguments = parser.parse_args()
    config = Config.load(arguments.config)
    platform = TARGETS[arguments.target]
    system = chosen_system(config, arguments)
    if system is None:
        files = write_core(config, arguments.out, platform)
    else:
        files = write_cores(system, arguments.out, platform)
    for file in files:
        print(file)


if __name__ == "__main__":
    run_cli(main)
