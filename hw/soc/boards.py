"""The boards that `make bitstream` builds for: each is an entry of `BOARDS`.

LiteX's environment and that of the project both read this file, so it imports nothing of theirs.
Pins, clock generators and memories are those of litex-boards.
"""

from dataclasses import dataclass

__all__ = ["BOARDS", "FIRMWARE_BYTES", "Board"]

FIRMWARE_BYTES = 0x10000
"""The firmware's share of the boot image, which begins with it."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, and the system that is built for it.

    Parameters
    ----------
    title : str
        The board's name, for readers.
    target : str
        A module of `litex_boards.targets`; its clock generator is used.
    platform : dict
        What the constructor of the board's platform takes.
    config : str
        The preset of the core.
    clock_mhz : int
        Clock of the processor, the core and the memory controller.
    memory : str
        A module of `litedram.modules`.
    memory_bits : int
        Width of the memory's data pins.
    memory_pads : str
        Name of the memory's pins in the platform.
    ddr : bool
        The memory is DDR3 at twice the clock, behind ECP5DDRPHY, which the BIOS calibrates.
        Otherwise it is single data rate SDRAM at the clock itself.
    processor : str
        Variant of VexRiscv.
    level_2 : (int, int)
        Bytes of the level-2 cache between processor and memory, and bits of its lines.
    sram_bytes : int
        On-chip memory for the software's data and stack.
    part : str
        One of `hw.fpga.ecp5.DEVICES`: what the FPGA holds.
    loader : str
        The board's name in openFPGALoader.
    """

    title: str
    target: str
    platform: dict
    config: str
    clock_mhz: int
    memory: str
    memory_bits: int
    memory_pads: str
    ddr: bool
    processor: str
    level_2: tuple[int, int] = (8192, 128)
    sram_bytes: int = 0x2000
    part: str
    loader: str

    @property
    def bytes_a_cycle(self) -> int:
        """Most bytes that the memory moves in a cycle of the core's clock."""
        return self.memory_bits // 8 * (4 if self.ddr else 1)


BOARDS = {
    "ulx3s-85f": Board(
        title="Radiona ULX3S with an LFE5U-85F",
        target="radiona_ulx3s",
        platform={"device": "LFE5U-85F", "revision": "2.0"},
        config="small",
        clock_mhz=50,
        memory="MT48LC16M16",
        memory_bits=16,
        memory_pads="sdram",
        ddr=False,
        processor="standard",
        part="ecp5-85",
        loader="ulx3s",
    ),
    "ecpix5-85f": Board(
        title="LambdaConcept ECPIX-5 with an LFE5UM5G-85F",
        target="lambdaconcept_ecpix5",
        platform={"device": "85F"},
        config="small",
        clock_mhz=50,
        memory="MT41K256M16",
        memory_bits=16,
        memory_pads="ddram",
        ddr=True,
        processor="standard",
        part="ecp5-85",
        loader="ecpix5",
    ),
    "colorlight-i5": Board(
        title="Colorlight i5 7.0 with an LFE5U-25F, on its extension board",
        target="colorlight_i5",
        platform={"board": "i5", "revision": "7.0"},
        config="tiny",
        clock_mhz=50,
        memory="M12L64322A",
        memory_bits=32,
        memory_pads="sdram",
        ddr=False,
        processor="lite",
        level_2=(2048, 32),
        sram_bytes=0x1000,
        part="ecp5-25",
        loader="colorlight-i5",
    ),
}
