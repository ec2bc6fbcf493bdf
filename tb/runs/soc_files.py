"""The files that a RISC-V system with the core is built from, and what its memory holds.

`make soc-sim` simulates such a system, and `make bitstream` builds one for a board. Both run the
firmware in `hw/soc/firmware`, which reads the table that a memory image begins with.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import torch

from compiler import program_file
from compiler.build import compile_bundle
from compiler.program import DENSE, Program
from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.files import write_file
from golden.network import Network
from hw.contract.bus import PAGE_BITS
from hw.contract.c_headers import C_HEADERS
from hw.contract.config import Config
from hw.verilog_output import core_name, write_core
from tb.paths import REPOSITORY
from tb.runs.images import held_out_image

__all__ = ["SOC_FOLDER", "SocFiles", "memory_image", "write_soc_files"]

SOC_FOLDER = REPOSITORY / "hw" / "soc"

_MAGIC = 0x5A53_4F43
_PAGE = 1 << PAGE_BITS
_TABLE_BYTES = 40


@dataclass(frozen=True)
class SocFiles:
    """Files for a system.

    Parameters
    ----------
    program : Program
    memory_bytes : int
        Bytes from the beginning of `memory_image` to the window's end.
    options : list of str
        For the scripts in `hw/soc`, which run in LiteX's environment.
    """

    program: Program
    memory_bytes: int
    options: list[str]


def write_soc_files(
    bundle: Bundle, config: Config, images: int, out: Path, platform: object = None
) -> SocFiles:
    """Compile the bundle, and write the core's Verilog and the C driver into `out`.

    The Verilog is for any device, or for that of `platform` alone.
    """
    program = compile_bundle(bundle, config)
    file = out / f"program{program_file.SUFFIX}"
    program_file.save(program, file)
    memory = memory_image(bundle, program, file.read_bytes(), images)
    write_core(config, out / "verilog", platform)
    driver = out / "driver"
    for name, text in C_HEADERS.items():
        write_file(driver / name, text())
    for source in (REPOSITORY / "driver").glob("zapcore.[ch]"):
        write_file(driver / source.name, source.read_bytes())
    verilog = out / "verilog" / f"{core_name(config)}.v"
    options = ["--out", out / "system", "--verilog", verilog, "--driver", driver]
    options += ["--firmware", SOC_FOLDER / "firmware"]
    options += ["--memory", write_file(out / "memory.bin", memory)]
    window = ceil_div(len(memory), _PAGE) * _PAGE + ceil_div(program.end, _PAGE) * _PAGE
    return SocFiles(program, window, [str(option) for option in options])


def memory_image(bundle: Bundle, program: Program, program_bytes: bytes, images: int) -> bytes:
    """A table for the firmware, and behind it the program's file, images and golden's logits.

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
