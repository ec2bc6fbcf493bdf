"""`make soc-sim`: a RISC-V processor drives the core in C, in a simulated system with SDRAM.

    python -m tb.soc_sim --bundle build/digits --litex build/litex/bin/python

It compiles the bundle, takes images and golden's logits, and hands them to `hw/soc/simulate.py`,
which runs in LiteX's own environment. The firmware in `hw/soc/firmware` classifies the images at
every operating point, by polling and by interrupt, provokes a fault and an abort, and prints what
it did.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import subprocess
import time
from pathlib import Path

from golden.arguments import Parser, positive
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from hw.contract.config import PRESETS, Config
from hw.soc.boards import BOARDS
from tb.runs.soc_files import SOC_FOLDER, write_soc_files

__all__: list[str] = []

_RIGHT = "all right"


def main() -> int:
    parser = Parser(prog="tb.soc_sim", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("build/digits"))
    parser.add_argument(
        "--config",
        help=f"{', '.join(PRESETS)}, or a JSON file; small, or the board's own by default",
    )
    boards = [name for name, board in BOARDS.items() if not board.ddr]
    parser.add_argument(
        "--board",
        help=f"{', '.join(boards)}: its processor, caches, SDRAM and boot image",
    )
    parser.add_argument("--images", type=positive, default=2, help="images at each operating point")
    parser.add_argument(
        "--litex",
        type=Path,
        default=Path("build/litex/bin/python"),
        help="Python of LiteX's environment, which make soc-sim sets up",
    )
    parser.add_argument("--out", type=Path, default=Path("build/soc"), help="folder to build in")
    arguments = parser.parse_args()
    if not arguments.litex.exists():
        raise UserError(f"{arguments.litex}: not found; make soc-sim sets it up")
    if arguments.board is not None and arguments.board not in boards:
        raise UserError(f"no board {arguments.board!r} to simulate: use {', '.join(boards)}")
    own = BOARDS[arguments.board].config if arguments.board else "small"
    bundle, config = Bundle.load(arguments.bundle), Config.load(arguments.config or own)
    out = arguments.out
    files = write_soc_files(bundle, config, arguments.images, out)
    command = [arguments.litex.absolute(), SOC_FOLDER / "simulate.py", *files.options]
    if arguments.board:
        command += ["--board", arguments.board]
    return _run([str(part) for part in command], out / "log.txt")


def _run(command: list[str], log: Path) -> int:
    """Run the simulation; print the firmware's lines as they come. Returns an exit status.

    Everything else that LiteX and the compilers say goes to a file.
    """
    begun = time.monotonic()
    last = ""
    print("building the system; it says little for some minutes", flush=True)
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        assert process.stdout is not None
        runs = False
        for line in process.stdout:
            stream.write(line)
            runs = runs or line.startswith("program ")
            if runs and line.strip():
                last = line.strip()
                print(last, flush=True)
                if last == _RIGHT or last.startswith("wrong"):
                    break
        process.terminate()
        process.wait()
    print(f"{time.monotonic() - begun:.0f} s; log: {log}")
    return 0 if last == _RIGHT else 1


if __name__ == "__main__":
    run_cli(main)
