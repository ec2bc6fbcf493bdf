"""Measured operating points, and the JSON list of them that commands add their results to.

`docs/results/operating_points.json` is such a list; each entry is a `MeasuredPoint`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golden.errors import UserError
from golden.reading import read_json
from quant.points.expected_loss import STANDARD_ERRORS
from quant.runtime.outputs import check_outputs, write_json

__all__ = [
    "TUNINGS",
    "MeasuredPoint",
    "check_list",
    "parse_point",
    "read_points",
    "write_points",
]

TUNINGS = ("as trained", "recalibrated", "fine-tuned")
"""The ways to adapt a network to its ZAPs, so that it loses less."""

_KEY = ("network", "dataset", "method", "pattern", "budget", "recalibrated", "fine_tuned")
"""A later entry replaces an earlier one that agrees with it in these fields."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class MeasuredPoint(BaseModel):
    """A measured operating point. Fields that do not apply to its method are None or not set.

    Fields are written in the order in which they are declared; those that are not set are not
    written. Unknown fields are kept.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    network: str
    dataset: str
    method: str
    """The methods that skip, for example `zap` or `zap+feature-map-pruning`; `none` is a control,
    which was fine-tuned without skipping."""
    pattern: str | None = None
    """Several patterns are joined by +."""
    budget: str | None = None
    """The setting that decides how much is skipped, for example `max-drop 1` or `sigma 0.1`."""
    window: int | None = None
    """Height and width of the windows of value prediction."""
    epsilon: int | None = None
    """Levels that a pruned feature map may be away from zero."""
    predicted_drop: Finite | None = None
    drop: Finite
    """Percentage points of top-1 accuracy that are lost against the integer network without ZAP."""
    predicted_deviation: Finite | None = None
    """The standard error of the drop that is expected; `predicted_drop` is above it by
    `STANDARD_ERRORS` times this."""
    deviation: Finite | None = None
    """The standard error of the drop, image by image."""
    predicted_mac_reduction: Finite | None = None
    mac_reduction: Finite
    """Share of all conv MACs."""
    load_reduction: Finite | None = None
    """Share of the ifm activations that are not loaded."""
    recalibrated: bool = False
    fine_tuned: bool = False
    float_top1: Finite | None = None
    """Accuracies are in percent."""
    int8_top1: Finite | None = None
    """Accuracy of the integer network without ZAP."""
    top1: Finite | None = None
    """Accuracy at this operating point."""
    images: int | None = None
    """Test images that were measured on."""
    command: str | None = None
    """The command that measured it."""
    error: Finite | None = None
    """Sum of eps over the layers, at which it was chosen."""
    line: tuple[tuple[Finite, Finite], ...] | None = None
    """The accuracy-error line that it was chosen by: (error, drop) on held-out images."""

    @property
    def where(self) -> str:
        """Network and dataset, for people to read."""
        return f"{self.network} on {self.dataset}"

    @property
    def slug(self) -> str:
        """Network and dataset, as a part of file names."""
        return f"{self.network}-{self.dataset}"

    @property
    def prediction(self) -> tuple[float, float] | None:
        """Predicted drop and MAC reduction; None if either was not predicted."""
        if self.predicted_drop is None or self.predicted_mac_reduction is None:
            return None
        return self.predicted_drop, self.predicted_mac_reduction

    @property
    def max_drop(self) -> float | None:
        """The budget of accuracy in percentage points; None if the budget is another."""
        option, _, value = (self.budget or "").partition(" ")
        return float(value) if option == "max-drop" else None

    @property
    def expected_drop(self) -> float | None:
        """The drop that was expected when it was chosen; None if none was."""
        if self.predicted_drop is None:
            return None
        return self.predicted_drop - STANDARD_ERRORS * (self.predicted_deviation or 0.0)

    @property
    def promise(self) -> float | None:
        """Percentage points that a budget of accuracy promises not to lose on the test images.

        Chance moves what is lost on so many images; so it is the budget and one standard error.
        """
        if self.max_drop is None or self.deviation is None or self.fine_tuned:
            return None
        return self.max_drop + self.deviation

    @property
    def tuning(self) -> str:
        """The one of `TUNINGS` that was done last."""
        return TUNINGS[2 if self.fine_tuned else int(self.recalibrated)]


def parse_point(file: Path, index: int, entry: Any) -> MeasuredPoint:
    """Validate an entry. Raises UserError that names the file, the entry and the field."""
    try:
        return MeasuredPoint.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: entry {index}: {field}: {first['msg']}") from None


def read_points(file: Path | None) -> list[MeasuredPoint]:
    """Read a list; it is empty if there is no file. Raises UserError if the file is not a list."""
    if file is None or not os.path.exists(file):
        return []
    entries = read_json(file)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{file}: is no list of operating points; choose another file")
    return [parse_point(file, index, entry) for index, entry in enumerate(entries)]


def check_list(file: Path | None) -> None:
    """Raise UserError unless `write_points` can add to this file; None stands for no file."""
    read_points(file)
    check_outputs(file)


def write_points(file: Path, points: Sequence[MeasuredPoint]) -> None:
    """Add operating points to a list; the file is created if there is none."""
    every = [*read_points(file), *points]
    latest = {tuple(str(getattr(point, field)) for field in _KEY): point for point in every}
    write_json(file, [point.model_dump(exclude_unset=True) for point in latest.values()])
