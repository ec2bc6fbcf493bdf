"""Measured operating points, as `quant.points.results` and `quant.evaluate` write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.errors import UserError
from quant.points.results import TUNINGS, MeasuredPoint, parse_point, read_points

__all__ = [
    "LARGEST_DROP",
    "METHODS",
    "Estimate",
    "by_network",
    "csv_row",
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

_COLUMNS = (
    "network",
    "dataset",
    "method",
    "pattern",
    "budget",
    "predicted_drop",
    "drop",
    "predicted_mac_reduction",
    "mac_reduction",
    "recalibrated",
    "fine_tuned",
    "float_top1",
    "int8_top1",
    "top1",
    "images",
    "error",
    "command",
)


def read(file: Path) -> list[MeasuredPoint]:
    """The points of a list, and those of the sweeps `*_patterns.json` beside it.

    Raises UserError naming the file and the entry that is none.
    """
    points = read_points(file)
    for sweep in sorted(file.parent.glob("*_patterns.json")):
        points += _sweep(sweep)
    return points


def csv_row(point: MeasuredPoint) -> dict[str, object]:
    """A row of a CSV file: all figures that every method has, without the line, which is a list."""
    return {column: getattr(point, column) for column in _COLUMNS}


def by_network(points: Iterable[MeasuredPoint]) -> dict[str, list[MeasuredPoint]]:
    """The points of each network on its dataset, in the order that they come in."""
    groups: dict[str, list[MeasuredPoint]] = {}
    for point in points:
        groups.setdefault(point.where, []).append(point)
    return groups


def series(points: Iterable[MeasuredPoint], *, masks: bool = True) -> list[list[MeasuredPoint]]:
    """The points of each method and tuning, each list by rising MAC reduction.

    With `masks`, uniform ones of different patterns are apart. In the order of METHODS.
    """
    groups: dict[tuple[str, int, str, str, int], list[MeasuredPoint]] = {}
    for point in points:
        known = point.method in METHODS
        rank = list(METHODS).index(point.method) if known else len(METHODS)
        mask = str(point.pattern) if masks and point.method == "zap-uniform" else ""
        key = (point.where, rank, point.method, mask, TUNINGS.index(point.tuning))
        groups.setdefault(key, []).append(point)
    return [sorted(groups[key], key=lambda point: point.mac_reduction) for key in sorted(groups)]


def method_name(point: MeasuredPoint) -> str:
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


def estimate(points: Sequence[MeasuredPoint]) -> Estimate | None:
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


def _sweep(file: Path) -> list[MeasuredPoint]:
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
    return [parse_point(file, index, row) for index, row in enumerate(rows)]
