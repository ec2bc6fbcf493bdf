"""`make verilog`: writes the core as one Verilog file, and what its users must know.

`python -m hw.verilog --config small|default|FILE [--out DIR]` writes `DIR/zapcore_NAME.v`,
`DIR/zapcore_NAME.json` (parameters and ports), the headers of the C driver, and the registers as
`DIR/zapcore.rdl` for register tools and `DIR/registers.md` for readers.
"""

from pathlib import Path

from golden.arguments import Parser
from golden.errors import run_cli
from hw.contract.config import PRESETS, Config
from hw.verilog_output import write_core

__all__: list[str] = []


def main() -> None:
    parser = Parser(prog="hw.verilog", description=__doc__)
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument(
        "--out", type=Path, default=Path("build/verilog"), help="folder to write to"
    )
    arguments = parser.parse_args()
    for file in write_core(Config.load(arguments.config), arguments.out):
        print(file)


if __name__ == "__main__":
    run_cli(main)
