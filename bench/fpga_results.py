"""Clocks and resources of cores that were placed and routed: what `make fpga` has written.

Committed results are in `docs/results/fpga`, the user's own in `build/fpga`. They are the one
source of the clock at which a core is said to run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from golden.errors import UserError
from golden.reading import read_json
from hw.contract.config import Config
from hw.fpga.ecp5 import Use
from tb.paths import REPOSITORY

__all__ = ["ASSUMED_MHZ", "FOLDERS", "Build", "clock_of", "find_build"]

ASSUMED_MHZ = 100.0
"""The clock of a core that nobody has placed and routed."""
FOLDERS = (REPOSITORY / "docs" / "results" / "fpga", Path("build/fpga"))
"""The committed results come first."""


@dataclass(frozen=True)
class Build:
    """A core on a device.

    Parameters
    ----------
    device : str
        Its name in `hw.fpga.ecp5.DEVICES`.
    clock_mhz : float
        The median over placements.
    use : Use
        Resources of the core.
    file : Path
    """

    device: str
    clock_mhz: float
    use: Use
    file: Path


def find_build(config: Config) -> Build | None:
    """Return the result of a configuration, whatever it is called; None if there is none.

    Raises UserError where a file is not what `make fpga` writes.
    """
    for folder in FOLDERS:
        for file in sorted(folder.glob("*.json")):
            built, build = _read(file)
            if replace(built, name=config.name) == config:
                return build
    return None


def clock_of(build: Build | None) -> float:
    """Return the clock in MHz at which figures are given: where the core was placed, or assumed."""
    return ASSUMED_MHZ if build is None else build.clock_mhz


def _read(file: Path) -> tuple[Config, Build]:
    try:
        document = read_json(file)
        use = Use(**{field.name: document[field.name] for field in fields(Use)})
        build = Build(document["device"], document["fmax_median_mhz"], use, file)
        return Config(**document["config"]), build
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not what make fpga writes ({type(error).__name__}: {error}); make it again"
        ) from None
