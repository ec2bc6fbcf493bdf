"""Builds a LiteX system of a VexRiscv, an SDRAM and the core, and runs firmware on it in Verilator.

    python hw/soc/simulate.py --verilog FILE --memory FILE --firmware DIR --driver DIR --out DIR
        [--board NAME]

It runs in the environment of LiteX, which has none of the project's packages. The SDRAM begins with
the file `--memory`. The firmware is compiled with the C driver, lies in ROM, and runs without
LiteX's BIOS. With `--board`, processor, caches and SDRAM are those of a board, and the SDRAM begins
with the boot image that the board takes: the firmware, and behind it the file `--memory`.

The simulation ends when the firmware writes to `ctrl_reset`, and what it prints is the output of
this command.
"""

import argparse
import os
import struct
from pathlib import Path

from boards import BOARDS, FIRMWARE_BYTES, Board
from firmware_image import boot_image, compile_firmware
from litedram import modules
from litedram.phy.model import SDRAMPHYModel
from litex.build.generic_platform import Pins, Subsignal
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.build.sim.config import SimConfig
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc_core import SoCCore
from migen import Finish, If
from zapcore_litex import add_zapcore

_CLOCK = 1_000_000
"""The simulation has no seconds; timings of the SDRAM count in cycles of the system's clock."""
_ROM_BYTES = 0x8000
_TO_MAIN_RAM = [0x400002B7, 0x00028067]
"""RISC-V: lui t0, 0x40000 and jr t0."""
_WITHOUT_BOARD = Board(
    title="a system with a wide SDRAM",
    target="",
    platform={},
    config="small",
    clock_mhz=100,
    memory="MT48LC16M16",
    memory_bits=32,
    memory_pads="",
    ddr=False,
    processor="standard",
    part="",
    loader="",
)
_IO = [
    ("sys_clk", 0, Pins(1)),
    ("sys_rst", 0, Pins(1)),
    (
        "serial",
        0,
        *(
            Subsignal(f"{end}_{name}", Pins(bits))
            for end in ("source", "sink")
            for name, bits in (("valid", 1), ("ready", 1), ("data", 8))
        ),
    ),
]


class Platform(SimPlatform):
    """The simulator's pins: a clock, and a console."""

    def __init__(self):
        super().__init__("SIM", _IO)


class System(SoCCore):
    """VexRiscv, SDRAM with a level-2 cache, UART, timer, and the core on its own memory port.

    Parameters
    ----------
    board : Board
    memory : list of int
        Words that the SDRAM begins with.
    rom : function
        Returns the words of the ROM. It is called when LiteX's headers are written.
    """

    def __init__(self, board, verilog, memory, rom):
        platform = Platform()
        super().__init__(
            platform,
            clk_freq=_CLOCK,
            cpu_type="vexriscv",
            cpu_variant=board.processor,
            integrated_rom_size=_ROM_BYTES,
            integrated_sram_size=board.sram_bytes,
            uart_name="sim",
            ident="zapcore",
        )
        self._rom = rom
        self.crg = CRG(platform.request("sys_clk"))
        clock = board.clock_mhz * 1_000_000
        module = getattr(modules, board.memory)(clock, "1:1")
        self.sdrphy = SDRAMPHYModel(
            module=module, data_width=board.memory_bits, clk_freq=clock, init=memory
        )
        self.add_sdram(
            "sdram",
            phy=self.sdrphy,
            module=module,
            l2_cache_size=board.level_2[0],
            l2_cache_min_data_width=board.level_2[1],
        )
        self.zapcore = add_zapcore(self, verilog)
        self.sync += If(self.ctrl.soc_rst, Finish())

    def init_mems(self, **_):
        self.init_rom("rom", self._rom())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("verilog", "memory", "firmware", "driver", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    boards = [name for name, board in BOARDS.items() if not board.ddr]
    parser.add_argument("--board", choices=boards)
    arguments = parser.parse_args()
    out, firmware, driver = (
        path.resolve() for path in (arguments.out, arguments.firmware, arguments.driver)
    )
    board = BOARDS.get(arguments.board, _WITHOUT_BOARD)
    region = "main_ram" if arguments.board else "rom"
    defines = [f"TABLE_OFFSET={FIRMWARE_BYTES if arguments.board else 0}", "RESET_AT_END"]

    def compiled():
        return compile_firmware(out, firmware, driver, region=region, defines=defines)

    def builder(memory, rom):
        system = System(board, arguments.verilog, memory, rom)
        return Builder(system, output_dir=str(out), compile_software=False)

    memory = arguments.memory.read_bytes()
    if arguments.board:
        # The firmware needs the headers of a system that is elaborated, and the memory needs it.
        builder([], lambda: _TO_MAIN_RAM).build(run=False, sim_config=_simulation())
        memory = boot_image(compiled(), memory)
        rom = _TO_MAIN_RAM
    run = builder(_words(memory), (lambda: rom) if arguments.board else lambda: _words(compiled()))
    # LiteX on its own would start a compiler for every one of a hundred files at once.
    run.build(
        run=True,
        sim_config=_simulation(),
        interactive=False,
        opt_level="O3",
        jobs=os.cpu_count() or 1,
    )


def _simulation():
    config = SimConfig()
    config.add_clocker("sys_clk", freq_hz=_CLOCK)
    config.add_module("serial2console", "serial")
    return config


def _words(content):
    """The words of a memory's content, 32 bits each."""
    padded = content + bytes(-len(content) % 4)
    return list(struct.unpack(f"<{len(padded) // 4}I", padded))


if __name__ == "__main__":
    main()
