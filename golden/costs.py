"""The file in which the compiler tells what a network's layers take, for others to choose by.

`python -m compiler BUNDLE --config CONFIG --costs FILE` writes it, and `quant.choose --costs FILE`
reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golden.errors import UserError
from golden.reading import read_json

__all__ = ["COSTS_VERSION", "LayerCosts", "NetworkCostsFile", "ZapCosts", "read_costs"]

COSTS_VERSION: Final = 1

Cycles = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ZapCosts(_Strict):
    """The time that the network takes with a ZAP in one layer alone, by how much that skips.

    `skipped` rises from 0; its last entry is all that the pattern leaves to the predictor.
    """

    skipped: Annotated[list[Share], Field(min_length=1)]
    """Shares of the layer's activations."""
    saved: list[Annotated[float, Field(allow_inf_nan=False)]]
    """Cycles that the network saves; negative where it takes longer."""


class LayerCosts(_Strict):
    """A layer's cycles without ZAP; `zaps` has what each pattern saves."""

    cycles: Cycles
    zaps: dict[str, ZapCosts] = {}


class NetworkCostsFile(_Strict):
    """The content of the file."""

    version: Literal[1]
    network: str
    config: str
    """Name of the configuration."""
    latency: int
    """The memory's, in cycles."""
    layers: dict[str, LayerCosts]
    """In the order in which they run, poolings of their own included."""

    @property
    def cycles(self) -> float:
        """Cycles of the whole network without ZAP."""
        return sum(layer.cycles for layer in self.layers.values())


def read_costs(file: Path, network: str) -> NetworkCostsFile:
    """Read the costs of a network. Raises UserError where they are not, or are another's."""
    remedy = "write it with python -m compiler BUNDLE --costs FILE"
    try:
        costs = NetworkCostsFile.model_validate(read_json(file, remedy))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: {field}: {first['msg']}; {remedy}") from None
    for name, layer in costs.layers.items():
        for pattern, zap in layer.zaps.items():
            rises = all(a < b for a, b in zip(zap.skipped, zap.skipped[1:]))
            if len(zap.saved) != len(zap.skipped) or not rises:
                raise UserError(
                    f"{file}: layers.{name}.zaps.{pattern}: skipped must rise, and saved be as "
                    f"many; {remedy}"
                )
    if costs.network != network:
        raise UserError(f"{file}: costs of {costs.network!r}, and the bundle is {network!r}")
    return costs
