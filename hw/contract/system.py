"""Several cores on one memory port: their number, and the width of the port."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

from golden.arguments import Parser, integer, positive
from golden.errors import UserError
from hw.contract.bus import ID_BITS, LITE_ADDRESS_BITS
from hw.contract.config import Config

__all__ = ["MOST_CORES", "WIDEST_PORT", "System", "add_system_options", "chosen_system"]

MOST_CORES = 16
"""Most cores on one port."""
WIDEST_PORT = 1024
"""Widest data bus of AXI, in bits."""


@dataclass(frozen=True, kw_only=True)
class System:
    """Cores of one configuration on one memory port.

    Parameters
    ----------
    config : Config
        Of each core.
    cores : int, 2 .. 16
    memory_bits : int, power of two, config.bus_bits .. 1024
        Width of the memory port's data bus; by default that of all cores' ports together.
    """

    config: Config
    cores: int
    memory_bits: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.cores <= MOST_CORES:
            raise UserError(f"{self.cores} cores on one port: must be in 2..{MOST_CORES}")
        low = self.config.bus_bits
        if not self.memory_bits:
            together = low << (self.cores - 1).bit_length()
            object.__setattr__(self, "memory_bits", min(together, WIDEST_PORT))
        bits = self.memory_bits
        if not low <= bits <= WIDEST_PORT or bits & (bits - 1):
            raise UserError(
                f"a memory port of {bits} bits: must be a power of two in {low}..{WIDEST_PORT}, "
                f"{low} being bus_bits of configuration {self.config.name!r}"
            )

    @property
    def core_bits(self) -> int:
        """Bits of a core's number."""
        return (self.cores - 1).bit_length()

    @property
    def id_bits(self) -> int:
        """Width of a transaction ID at the port: a core's number above the core's own ID."""
        return ID_BITS + self.core_bits

    @property
    def lite_address_bits(self) -> int:
        """Width of a register address: a core's number above the address in its page."""
        return LITE_ADDRESS_BITS + self.core_bits

    @property
    def ratio(self) -> int:
        """A core's beats in a beat of the port."""
        return self.memory_bits // self.config.bus_bits


def add_system_options(parser: Parser) -> None:
    """Add the options that `chosen_system` reads."""
    parser.add_argument(
        "--cores", type=integer(1, MOST_CORES), default=1, help="number of cores on one memory port"
    )
    parser.add_argument(
        "--memory-bits",
        type=positive,
        help="width of the port of several cores; by default that of all their ports together",
    )


def chosen_system(config: Config, arguments: Namespace) -> System | None:
    """Return the cores that options ask for, or None for a single one.

    Raises UserError where there is no such system.
    """
    if arguments.cores > 1:
        return System(config=config, cores=arguments.cores, memory_bits=arguments.memory_bits or 0)
    if arguments.memory_bits:
        raise UserError("--memory-bits is for several cores: give their number by --cores")
    return None
