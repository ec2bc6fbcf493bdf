"""`make bitstream`: builds a LiteX system with the core for a board, up to the bitstream.

    python -m tb.bitstream --board ulx3s-85f --litex build/litex/bin/python

It compiles the bundle, lets `hw/soc/build_board.py` elaborate the system in LiteX's own environment
and compile its software, and takes it through Yosys, nextpnr and ecppack. Beside the bitstream lies
the boot image that the board takes over its serial console: firmware, program, images and golden's
logits. The firmware is that of `make soc-sim`.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from golden.arguments import Parser, integer, positive
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.files import write_file
from golden.reading import read_json
from hw.contract.config import PRESETS, Config
from hw.fpga import bitstream, ecp5
from hw.fpga.blocks import Ecp5
from hw.fpga.ecp5 import DEVICES, Use, use_of
from hw.fpga.report import refuse_misfit
from hw.soc.boards import BOARDS, FIRMWARE_BYTES, Board
from tb.runs.board_speed import frames
from tb.runs.soc_files import SOC_FOLDER, write_soc_files

__all__: list[str] = []


def main() -> None:
    parser = Parser(prog="tb.bitstream", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--board", default="ulx3s-85f", help=", ".join(BOARDS))
    add("--bundle", type=Path, default=Path("build/digits"))
    add("--config", help=f"{', '.join(PRESETS)}, or a JSON file; the board's own by default")
    add("--images", type=positive, default=2, help="images in the boot image")
    add("--seed", type=integer(1), default=1, help="of the placement")
    add(
        "--litex",
        type=Path,
        default=Path("build/litex/bin/python"),
        help="Python of LiteX's environment, which make bitstream sets up",
    )
    add("--out", type=Path, help="folder to build in; build/bitstream/BOARD by default")
    arguments = parser.parse_args()
    name = arguments.board
    if name not in BOARDS:
        raise UserError(f"no board {name!r}: use {', '.join(BOARDS)}")
    if not arguments.litex.exists():
        raise UserError(f"{arguments.litex}: not found; make bitstream sets it up")
    board = BOARDS[name]
    bundle, config = Bundle.load(arguments.bundle), Config.load(arguments.config or board.config)
    out = arguments.out or Path("build/bitstream") / name
    files = write_soc_files(bundle, config, arguments.images, out, Ecp5())
    _elaborate(arguments.litex.absolute(), ["--board", name, *files.options], out / "litex.log")
    system_folder = out / "system"
    boot = system_folder / "boot.bin"
    _refuse_memory(board, FIRMWARE_BYTES + files.memory_bytes, system_folder)

    system = bitstream.System.load(system_folder / "gateware")
    netlist = bitstream.synthesise_system(system, lambda text: _say(f"synthesis: {text}"))
    use = sum(use_of(netlist.cells).values(), Use())
    refuse_misfit(config, board.part, DEVICES[board.part], use)
    clocks = bitstream.place_system(
        system, arguments.seed, lambda text: _say(f"placement and routing: {text}")
    )
    bitstream.refuse_slow(clocks)
    packed = bitstream.pack(system, lambda text: _say(f"packing: {text}"))
    target = out / f"{name}.bit"
    shutil.copy(packed, target)
    result = {
        "board": board.title,
        "run_on_a_board": False,
        "device": system.device,
        "config": config.to_dict(),
        "seed": arguments.seed,
        "clock_mhz": board.clock_mhz,
        "clocks": {key: asdict(clock) for key, clock in clocks.items()},
        **asdict(use),
        "device_holds": asdict(DEVICES[board.part].holds),
        "memory": f"{board.memory}, {board.memory_bits} bits",
        "network": files.program.network,
        "frames_per_second": frames(bundle, config, board),
        "bitstream_bytes": target.stat().st_size,
        "boot_bytes": boot.stat().st_size,
        "tools": ecp5.tools(),
    }
    report = write_file(out / f"{name}.json", json.dumps(result, indent=2) + "\n")
    _print(result)
    print(f"{report}\n{target}\n{boot}")
    print(f"load: openFPGALoader --board {board.loader} {target}")
    print(f"boot: litex_term --kernel {boot} /dev/ttyUSB0")
    print("no board was here: this has never run on one")


def _refuse_memory(board: Board, needed: int, folder: Path) -> None:
    holds = read_json(folder / "gateware" / "system.json")["memory_bytes"]
    if needed > holds:
        raise UserError(
            f"the network needs {needed} bytes of memory, and the {board.title} has {holds}: "
            "choose another --board or fewer --images"
        )


def _elaborate(litex: Path, options: list[str], log: Path) -> None:
    """Run the script in LiteX's environment; its words go to a file."""
    _say("LiteX elaborates the system and compiles its software")
    path = os.pathsep.join([str(litex.parent), os.environ.get("PATH", "")])
    command = [str(litex), str(SOC_FOLDER / "build_board.py"), *options]
    with log.open("w") as stream:
        done = subprocess.run(
            command, env={**os.environ, "PATH": path}, stdout=stream, stderr=stream, check=False
        )
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise UserError(f"LiteX failed: {' '.join(last)}; all it said is in {log}")


def _print(result: dict) -> None:
    print(f"{result['board']}: {result['device']}, core {result['config']['name']}")
    for kind, held in result["device_holds"].items():
        print(f"  {kind:<5}{result[kind]:>8,} of {held:,} ({result[kind] / held:.0%})")
    for name, clock in result["clocks"].items():
        print(f"  clock {name}: {clock['wanted_mhz']} MHz, at most {clock['most_mhz']}")
    allowed = result["frames_per_second"]
    print(
        f"  {result['network']}: the core allows {allowed['core_allows']:,} images a second, "
        f"the memory ({result['memory']}) {allowed['memory_allows']:,}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_cli(main)
