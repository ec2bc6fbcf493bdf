"""The error of a layer that needs more than a configuration has, with the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from golden.errors import UserError

__all__ = ["Demand", "Misfit"]


@dataclass(frozen=True)
class Demand:
    """A layer's need of one resource, more than there is of it.

    Parameters
    ----------
    field : str
        Name of the attribute of `hw.contract.config.Config`.
    need, have : int
    what : str
        The unit, and what it is needed for.
    """

    field: str
    need: int
    have: int
    what: str


class Misfit(UserError):
    """A layer does not fit a configuration; the text names the first of its `demands`."""

    def __init__(self, layer: str, config: str, demands: Sequence[Demand]) -> None:
        first = demands[0]
        super().__init__(
            f"layer {layer!r} needs {first.need} {first.what}; "
            f"configuration {config!r} has {first.field} = {first.have}"
        )
        self.layer = layer
        self.demands = tuple(demands)
