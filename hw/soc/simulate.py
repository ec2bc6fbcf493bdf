"""Builds a LiteX system of a VexRiscv, an SDRAM and the core, and runs firmware on it in Verilator.

    python hw/soc/simulate.py --verilog FILE --memory FILE --firmware DIR --driver DIR --out DIR

It runs in the environment of LiteX, which has none of the project's packages. The SDRAM begins with
the file `--memory`. The firmware is compiled with the C driver, lies in ROM, and runs without
LiteX's BIOS. The simulation ends when the firmware writes to `ctrl_reset`, and what it prints is
the output of this command.
"""

import argparse
from pathlib import Path

from firmware_image import compile_firmware
from litedram.modules import MT48LC16M16
from litedram.phy.model import SDRAMPHYModel
from litex.build.generic_platform import Pins, Subsignal
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.build.sim.config import SimConfig
from litex.soc.integration.builder import Builder
from litex.soc.integration.common import get_mem_data
from litex.soc.integration.soc_core import SoCCore
from migen import Finish, If
from zapcore_litex import add_zapcore

_CLOCK = 1_000_000
_SDRAM_CLOCK = 100_000_000
"""Gives the timings of the SDRAM's model; the simulation itself has no seconds."""
_ROM_BYTES = 0x8000
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
    """VexRiscv, SDRAM with a level-2 cache, UART, timer, and the core on its own memory port."""

    def __init__(self, verilog, memory, firmware):
        platform = Platform()
        super().__init__(
            platform,
            clk_freq=_CLOCK,
            cpu_type="vexriscv",
            integrated_rom_size=_ROM_BYTES,
            integrated_sram_size=0x2000,
            uart_name="sim",
            ident="zapcore",
        )
        self._firmware = firmware
        self.crg = CRG(platform.request("sys_clk"))
        module = MT48LC16M16(_SDRAM_CLOCK, "1:1")
        self.sdrphy = SDRAMPHYModel(
            module=module,
            data_width=32,
            clk_freq=_SDRAM_CLOCK,
            init=get_mem_data(str(memory), data_width=32, endianness="little"),
        )
        self.add_sdram("sdram", phy=self.sdrphy, module=module, l2_cache_size=8192)
        self.zapcore = add_zapcore(self, verilog)
        self.sync += If(self.ctrl.soc_rst, Finish())

    def init_mems(self, **_):
        """Put the firmware into ROM. LiteX calls this when its headers are written."""
        binary = self._firmware()
        self.init_rom("rom", get_mem_data(str(binary), data_width=32, endianness="little"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("verilog", "memory", "firmware", "driver", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    out, firmware, driver = (
        path.resolve() for path in (arguments.out, arguments.firmware, arguments.driver)
    )

    def binary():
        defines = ("TABLE_OFFSET=0", "RESET_AT_END")
        return compile_firmware(out, firmware, driver, region="rom", defines=defines)

    system = System(arguments.verilog, arguments.memory, binary)
    config = SimConfig()
    config.add_clocker("sys_clk", freq_hz=_CLOCK)
    config.add_module("serial2console", "serial")
    builder = Builder(system, output_dir=str(out), compile_software=False)
    builder.build(run=True, sim_config=config, interactive=False, opt_level="O3")


if __name__ == "__main__":
    main()
