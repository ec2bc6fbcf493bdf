"""`make driver`: writes the headers of the C driver that the hardware's description decides.

`python -m hw.c_headers [--out DIR]` writes `zapcore_registers.h`, the registers, and
`zapcore_file.h`, the layout of a program's file.
"""

import golden.command  # noqa: F401

from pathlib import Path

from golden.arguments import Parser
from golden.errors import run_cli
from golden.files import write_file
from hw.contract.c_headers import C_HEADERS

__all__: list[str] = []


def main() -> None:
    parser = Parser(prog="hw.c_headers", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/driver"), help="folder to write to")
    arguments = parser.parse_args()
    for name, text in C_HEADERS.items():
        print(write_file(arguments.out / name, text()))


if __name__ == "__main__":
    run_cli(main)
