"""Compiles the firmware in `hw/soc/firmware` and the C driver for a LiteX system.

It runs in the environment of LiteX.
"""

import subprocess
from pathlib import Path

import litex
from boards import FIRMWARE_BYTES

__all__ = ["boot_image", "compile_firmware"]

_TOOLS = "riscv64-unknown-elf-"
_FLAGS = (
    *("-march=rv32im_zicsr", "-mabi=ilp32", "-O2", "-std=gnu99", "-ffreestanding", "-nostdlib"),
    *("-Wall", "-Wextra", "-Werror", "-D__vexriscv__", "-Wl,--no-warn-rwx-segments"),
)


def compile_firmware(out, firmware, driver, *, region, defines=()):
    """Compile against the headers that LiteX generated in `out`; returns the binary's bytes.

    Parameters
    ----------
    out : Path
        LiteX's folder of the system.
    firmware, driver : Path
        Folders of the sources.
    region : str
        Memory that the code lies in, by LiteX's name: `rom` or `main_ram`.
    defines : sequence of str
        For the preprocessor, as NAME=VALUE.
    """
    headers = out / "software" / "include"
    elf, binary = out / "firmware.elf", out / "firmware.bin"
    (out / "placement.ld").write_text(f'REGION_ALIAS("CODE", {region});\n')
    # The generated headers need LiteX's own, of its software and of the processor.
    litex_folder = Path(litex.__file__).parent / "soc"
    includes = [headers, headers / "generated", driver, firmware]
    includes += [litex_folder / "software" / "include", litex_folder / "cores" / "cpu" / "vexriscv"]
    sources = [firmware / "start.S", firmware / "main.c", driver / "zapcore.c"]
    command = [f"{_TOOLS}gcc", *_FLAGS, *(f"-D{define}" for define in defines)]
    command += [f"-I{folder}" for folder in includes]
    command += ["-L", str(headers / "generated"), "-L", str(out), "-T", str(firmware / "linker.ld")]
    subprocess.run([*command, *map(str, sources), "-lgcc", "-o", str(elf)], check=True)
    subprocess.run([f"{_TOOLS}objcopy", "-O", "binary", str(elf), str(binary)], check=True)
    return binary.read_bytes()


def boot_image(firmware, memory):
    """The SDRAM's content from which a system starts: the firmware, and its data behind it."""
    if len(firmware) > FIRMWARE_BYTES:
        raise SystemExit(f"error: the firmware has {len(firmware)} bytes, over {FIRMWARE_BYTES}")
    return firmware + bytes(FIRMWARE_BYTES - len(firmware)) + memory
