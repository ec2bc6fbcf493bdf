"""Elaborates the LiteX system of a board with the core, and compiles its software.

    python hw/soc/build_board.py --board NAME --verilog FILE --memory FILE
        --firmware DIR --driver DIR --out DIR

It runs in the environment of LiteX, which has none of the project's packages. The processor boots
LiteX's BIOS from ROM. That calibrates the SDRAM, then takes a boot image over the serial console:
the firmware, and behind it the file `--memory`. `OUT/boot.bin` is that image. In `OUT/gateware` it
leaves the sources and the pins for synthesis, and `system.json`, which says what they are.
"""

import argparse
import importlib
import json
import shutil
from pathlib import Path

from boards import BOARDS, FIRMWARE_BYTES
from firmware_image import boot_image, compile_firmware
from litedram import modules, phy
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc_core import SoCCore
from zapcore_litex import add_zapcore

_ROM_BYTES = 0x8000
_TOP = "system"


class System(SoCCore):
    """VexRiscv, SDRAM with a level-2 cache, UART, timer, and the core on its own memory port."""

    def __init__(self, board, verilog):
        target = importlib.import_module(f"litex_boards.targets.{board.target}")
        platform_of = importlib.import_module(f"litex_boards.platforms.{board.target}")
        platform = platform_of.Platform(toolchain="trellis", **board.platform)
        clock = board.clock_mhz * 1_000_000
        super().__init__(
            platform,
            clk_freq=clock,
            cpu_type="vexriscv",
            cpu_variant=board.processor,
            integrated_rom_size=_ROM_BYTES,
            integrated_sram_size=board.sram_bytes,
            ident="zapcore",
        )
        self.crg = target._CRG(platform, clock)
        pads = platform.request(board.memory_pads)
        if board.ddr:
            # LiteX's calibration goes by this name.
            self.ddrphy = memory_phy = phy.ECP5DDRPHY(pads, sys_clk_freq=clock)
            self.comb += [
                self.crg.stop.eq(self.ddrphy.init.stop),
                self.crg.reset.eq(self.ddrphy.init.reset),
            ]
        else:
            self.sdrphy = memory_phy = phy.GENSDRPHY(pads, clock)
        module = getattr(modules, board.memory)(clock, "1:2" if board.ddr else "1:1")
        self.add_sdram(
            "sdram",
            phy=memory_phy,
            module=module,
            size=0x40000000,
            l2_cache_size=board.level_2[0],
            l2_cache_min_data_width=board.level_2[1],
            l2_cache_full_memory_we=False,  # which would take a block RAM for every byte of a line
        )
        self.zapcore = add_zapcore(self, verilog)


def _gather(folder, platform):
    """Copy the sources that lie elsewhere into the folder; returns the names of all sources.

    Synthesis sees this folder alone.
    """
    names = []
    for file, language, *_ in platform.sources:
        if language != "verilog":
            raise SystemExit(f"error: {file} is {language}, of which synthesis reads none")
        source = Path(folder, file)
        if source.parent != folder:
            shutil.copy(source, folder)
        names.append(source.name)
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", choices=BOARDS, required=True)
    for name in ("verilog", "memory", "firmware", "driver", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    out, firmware, driver = (
        path.resolve() for path in (arguments.out, arguments.firmware, arguments.driver)
    )
    board = BOARDS[arguments.board]
    system = System(board, arguments.verilog)
    builder = Builder(system, output_dir=str(out), bios_console="lite")
    builder.build(run=False, build_name=_TOP)
    toolchain = system.platform.toolchain
    gateware = out / "gateware"
    about = {
        "top": _TOP,
        "sources": _gather(gateware, system.platform),
        "pins": f"{_TOP}.lpf",
        "device": system.platform.device,
        "options": [
            f"--{toolchain._architecture}",
            *("--speed", toolchain._speed_grade, "--package", toolchain._package),
        ],
        "main_ram": system.bus.regions["main_ram"].origin,
        "memory_bytes": system.bus.regions["main_ram"].size,
    }
    (gateware / "system.json").write_text(json.dumps(about, indent=2) + "\n")
    binary = compile_firmware(
        out, firmware, driver, region="main_ram", defines=[f"TABLE_OFFSET={FIRMWARE_BYTES}"]
    )
    (out / "boot.bin").write_bytes(boot_image(binary, arguments.memory.read_bytes()))


if __name__ == "__main__":
    main()
