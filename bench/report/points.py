"""Measured operating points, as `quant.points.results` and `quant.evaluate` write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golden.errors import UserError
from quant.points import results

__all__ = [
    "LARGEST_DROP",
    "METHODS",
    "TUNINGS",
    "Estimate",
    "Point",
    "by_network",
    "estimate",
    "method_name",
    "read",
    "series",
]

LARGEST_DROP = 3.0
"""Points of accuracy; estimates are not judged beyond, where no one would use them."""

METHODS = {
    "zap": "ZAP, per channel (ours)",
    "zap-per-layer": "ZAP, per layer",
    "zap-uniform": "ZAP, uniform",
    "value-prediction": "value prediction",
    "feature-map-pruning": "feature-map pruning",
    "zap+feature-map-pruning": "ZAP + feature-map pruning",
    "value-prediction+feature-map-pruning": "value prediction + feature-map pruning",
}
"""What the methods of the results are called, in the order that they are shown in."""

TUNINGS = ("as trained", "recalibrated", "fine-tuned")
"""What is done to a network so that it loses less with ZAP in it."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Point(BaseModel):
    """An operating point: an entry of the list that `quant.points.results` describes.

    Drops are points of top-1 accuracy, MAC reductions shares of all conv MACs; what a method does
    not predict is None.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    network: str
    dataset: str
    method: str
    pattern: str | None = None
    budget: str | None = None
    predicted_drop: Finite | None = None
    drop: Finite
    predicted_mac_reduction: Finite | None = None
    mac_reduction: Finite
    recalibrated: bool = False
    fine_tuned: bool = False
    float_top1: Finite | None = None
    int8_top1: Finite | None = None
    top1: Finite | None = None
    images: int | None = None
    error: Finite | None = None
    """Sum of eps over the layers that it was chosen at."""
    line: tuple[tuple[Finite, Finite], ...] | None = None
    """The accuracy-error line that it was chosen by: (error, drop) on images held out."""
    command: str | None = None

    @property
    def where(self) -> str:
        """Network and dataset."""
        return f"{self.network} on {self.dataset}"

    @property
    def slug(self) -> str:
        """The same as a part of file names."""
        return f"{self.network}-{self.dataset}"

    @property
    def record(self) -> dict[str, object]:
        """A row of a CSV file: all but the line's corners, which are a list."""
        return self.model_dump(exclude={"line"})

    @property
    def prediction(self) -> tuple[float, float] | None:
        """Drop and MAC reduction as estimated; None where one of them was not."""
        if self.predicted_drop is None or self.predicted_mac_reduction is None:
            return None
        return self.predicted_drop, self.predicted_mac_reduction

    @property
    def tuning(self) -> str:
        """Which of TUNINGS was done last."""
        return TUNINGS[2 if self.fine_tuned else int(self.recalibrated)]


def read(file: Path) -> list[Point]:
    """The points of a list, and those of the sweeps `*_patterns.json` beside it.

    Raises UserError naming the file and the entry that is none.
    """
    points = [_point(file, index, row) for index, row in enumerate(results.read(file))]
    for sweep in sorted(file.parent.glob("*_patterns.json")):
        points += _sweep(sweep)
    return points


def by_network(points: Iterable[Point]) -> dict[str, list[Point]]:
    """The points of each network on its dataset, in the order that they come in."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.where, []).append(point)
    return groups


def series(points: Iterable[Point], *, masks: bool = True) -> list[list[Point]]:
    """The points of each method and tuning, each list by rising MAC reduction.

    With `masks`, uniform ones of different patterns are apart. In the order of METHODS.
    """
    groups: dict[tuple[str, int, str, str, int], list[Point]] = {}
    for point in points:
        known = point.method in METHODS
        rank = list(METHODS).index(point.method) if known else len(METHODS)
        mask = str(point.pattern) if masks and point.method == "zap-uniform" else ""
        key = (point.where, rank, point.method, mask, TUNINGS.index(point.tuning))
        groups.setdefault(key, []).append(point)
    return [sorted(groups[key], key=lambda point: point.mac_reduction) for key in sorted(groups)]


def method_name(point: Point) -> str:
    """What its method is called; one that METHODS does not know, as it calls itself."""
    return METHODS.get(point.method, point.method)


@dataclass(frozen=True)
class Estimate:
    """How far predictions are from measurements: means of the absolute differences."""

    points: int
    drop: float
    """Points of top-1 accuracy."""
    mac_reduction: float
    """Share of all conv MACs."""


def estimate(points: Sequence[Point]) -> Estimate | None:
    """Over the predicted points that lose at most LARGEST_DROP; None where there is none."""
    pairs = [
        (abs(point.prediction[0] - point.drop), abs(point.prediction[1] - point.mac_reduction))
        for point in points
        if point.prediction and point.drop <= LARGEST_DROP
    ]
    if not pairs:
        return None
    drops, reductions = zip(*pairs)
    return Estimate(len(pairs), sum(drops) / len(pairs), sum(reductions) / len(pairs))


def _point(file: Path, index: int, row: dict) -> Point:
    try:
        return Point.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: entry {index}: {field}: {first['msg']}") from None


def _sweep(file: Path) -> list[Point]:
    """The uniform points of what `quant.evaluate --json` wrote, without feature-map pruning."""
    try:
        document = json.loads(file.read_text())
        common = {
            "network": document["network"],
            "dataset": document["dataset"],
            "command": document["command"],
            "float_top1": document["provenance"].get("float_top1"),
            "int8_top1": document["rows"][0]["top1"],
            "method": "zap-uniform",
        }
        uniform = [
            row
            for row in document["rows"]
            if row["sigma"] is not None and row.get("epsilon") is None
        ]
        rows = [
            common | row | {"pattern": row["point"], "budget": f"sigma {row['sigma']:g}"}
            for row in uniform
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file}: not what quant.evaluate --json writes ({type(error).__name__}: {error}); "
            "make it again"
        ) from None
    return [_point(file, index, row) for index, row in enumerate(rows)]
