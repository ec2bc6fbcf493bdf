"""`make soc-sim`: a RISC-V processor drives the core in C, in a simulated system with SDRAM.

    python -m tb.soc_sim --bundle build/digits --litex build/litex/bin/python

It compiles the bundle, takes images and golden's logits, and hands them to `hw/soc/simulate.py`,
which runs in LiteX's own environment. The firmware in `hw/soc/firmware` classifies the images at
every operating point, by polling and by interrupt, provokes a fault and an abort, and prints what
it did.
"""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import Path

import torch

from compiler import program_file
from compiler.build import compile_bundle
from compiler.program import DENSE, Program
from golden.arguments import Parser, positive
from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.files import write_file
from golden.network import Network
from hw.contract.bus import PAGE_BITS
from hw.contract.c_headers import C_HEADERS
from hw.contract.config import PRESETS, Config
from hw.verilog_output import core_name, write_core
from tb.paths import REPOSITORY
from tb.runs.images import held_out_image

__all__ = ["memory_image"]

_MAGIC = 0x5A53_4F43
_PAGE = 1 << PAGE_BITS
_TABLE_BYTES = 40
_RIGHT = "all right"


def memory_image(bundle: Bundle, program: Program, program_bytes: bytes, images: int) -> bytes:
    """The beginning of the system's SDRAM: a table, the program's file, images and golden's logits.

    The layout is that of `struct table` in `hw/soc/firmware/main.c`.
    """
    pixels = torch.stack([held_out_image(bundle, None, number)[0] for number in range(images)])
    pixels = (pixels * 255).round().to(torch.uint8)
    logits = []
    for point in program.points:
        network, predictors = (bundle, {}) if point == DENSE else bundle.at(point)
        quantised = torch.stack(
            [torch.from_numpy(program.quantise(image.numpy())) for image in pixels]
        )
        logits.append(Network(network, predictors)(quantised).to(torch.int8))
    parts = [program_bytes, pixels.numpy().tobytes(), torch.stack(logits).numpy().tobytes()]
    offsets, content = [], bytearray(_TABLE_BYTES)
    for part in parts:
        content += bytes(-len(content) % 4)
        offsets.append(len(content))
        content += part
    window = ceil_div(len(content), _PAGE) * _PAGE
    table = struct.pack(
        "<10I",
        _MAGIC,
        offsets[0],
        len(program_bytes),
        images,
        pixels[0].numel(),
        offsets[1],
        offsets[2],
        logits[0].shape[1],
        window,
        ceil_div(program.end, _PAGE) * _PAGE,
    )
    return table + bytes(content[_TABLE_BYTES:]) + bytes(-len(content) % 4)


def main() -> int:
    parser = Parser(prog="tb.soc_sim", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("build/digits"))
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
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
    bundle, config = Bundle.load(arguments.bundle), Config.load(arguments.config)
    program = compile_bundle(bundle, config)
    out = arguments.out
    file = out / f"program{program_file.SUFFIX}"
    program_file.save(program, file)
    image = memory_image(bundle, program, file.read_bytes(), arguments.images)
    memory = write_file(out / "memory.bin", image)
    write_core(config, out / "verilog")
    driver = out / "driver"
    for name, text in C_HEADERS.items():
        write_file(driver / name, text())
    for source in (REPOSITORY / "driver").glob("zapcore.[ch]"):
        write_file(driver / source.name, source.read_bytes())
    soc = REPOSITORY / "hw" / "soc"
    command = [
        *(arguments.litex.absolute(), soc / "simulate.py", "--out", out / "system"),
        *("--verilog", out / "verilog" / f"{core_name(config)}.v", "--memory", memory),
        *("--firmware", soc / "firmware", "--driver", driver),
    ]
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
