"""Resources and speed of a build on a device, as data and as a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from golden.errors import UserError
from hw.contract.config import Config
from hw.fpga.ecp5 import Device, Use
from hw.fpga.top import CORE

__all__ = ["Result", "modules_of", "refuse_misfit"]

_DEPTH = 4
"""Longest path of a module that has a row of its own: that of the array has as many parts."""
_NAMES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "block RAM"}


def modules_of(uses: Mapping[str, Use]) -> dict[str, Use]:
    """Return the core's modules of `ecp5.use_of`; those deep inside are added to their parents."""
    rows: dict[str, Use] = {}
    for path, use in uses.items():
        first, *parts = re.sub(r"\$\d+", "", path).split(".")
        if first == CORE:
            row = ".".join(parts[:_DEPTH]) or CORE
            rows[row] = rows.get(row, Use()) + use
    return rows


def refuse_misfit(config: Config, name: str, device: Device, use: Use) -> None:
    """Raise a UserError that names the resources of which a device has too few."""
    holds = asdict(device.holds)
    over = [
        f"{taken} of {holds[kind]} {_NAMES[kind]}"
        for kind, taken in asdict(use).items()
        if taken > holds[kind]
    ]
    if over:
        raise UserError(
            f"config {config.name!r} does not fit {name}: it takes {', '.join(over)}; "
            "choose a larger DEVICE or a smaller configuration"
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """Measurements of one configuration on one device.

    Parameters
    ----------
    fmax : {seed: MHz}
        Highest frequency at which each placement meets its timing.
    modules : {path: Use}
        See `modules_of`.
    without : Use
        Resources of the core of the same configuration without a predictor.
    """

    name: str
    device: Device
    config: Config
    fmax: Mapping[int, float]
    modules: Mapping[str, Use]
    without: Use
    tools: Mapping[str, str]

    @property
    def core(self) -> Use:
        """Resources of the core, without those that only serve the measurement."""
        return sum(self.modules.values(), Use())

    @property
    def predictor(self) -> Use:
        """Resources that the core takes more than one without a predictor."""
        return self.core - self.without

    def to_dict(self) -> dict:
        """Return the content of `build/fpga/DEVICE-CONFIG.json`."""
        predictor = asdict(self.predictor)
        return {
            "device": self.name,
            "part": self.device.part,
            "config": self.config.to_dict(),
            "fmax_mhz": {str(seed): mhz for seed, mhz in self.fmax.items()},
            "fmax_best_mhz": max(self.fmax.values()),
            "fmax_median_mhz": round(median(self.fmax.values()), 2),
            **asdict(self.core),
            "device_holds": asdict(self.device.holds),
            "predictor": predictor,
            "without_predictor": asdict(self.without),
            "modules": {path: asdict(use) for path, use in self.modules.items()},
            "tools": dict(self.tools),
        }

    def table(self) -> str:
        """Return the table that `make fpga` prints."""
        core, holds = self.core, self.device.holds
        rows: list[Sequence[str]] = [("", *_NAMES.values())]
        rows += [(path, *_counts(use)) for path, use in sorted(self.modules.items())]
        rows += [
            ("all of the core", *_counts(core)),
            (f"share of {self.name}", *_shares(core, holds)),
            ("predictor", *_counts(self.predictor)),
            ("share of the core", *_shares(self.predictor, core)),
            ("over the core without", *_shares(self.predictor, self.without)),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]
            ).rstrip()
            for row in rows
        ]
        best, middle = max(self.fmax.values()), median(self.fmax.values())
        seeds = ", ".join(f"{mhz:.1f} with seed {seed}" for seed, mhz in self.fmax.items())
        versions = ", ".join(f"{tool} {version}" for tool, version in self.tools.items())
        multipliers = f"{self.config.multipliers} multipliers in the array"
        return "\n".join(
            [
                f"{self.config.name} on {self.device.part}, {multipliers}",
                *lines,
                f"clock: {best:.1f} MHz at best, {middle:.1f} MHz median: {seeds}",
                f"tools: {versions}",
            ]
        )


def _counts(use: Use) -> list[str]:
    return [f"{count:,}" for count in asdict(use).values()]


def _shares(use: Use, whole: Use) -> list[str]:
    """Percentages; a dash where the whole is nothing."""
    pairs = zip(asdict(use).values(), asdict(whole).values())
    return [f"{part / all_:.1%}" if all_ else "-" for part, all_ in pairs]
