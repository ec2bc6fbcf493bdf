"""Measured operating points, as `quant.points.results` and `quant.evaluate` write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.errors import UserError
from golden.reading import read_json
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
"""Percentage points of top-1. Estimates are judged up to here; nobody would use operating points
that lose more."""

METHODS = {
    "zap": "ZAP, per channel (ours)",
    "zap-per-layer": "ZAP, per layer",
    "zap-uniform": "ZAP, uniform",
    "value-prediction": "value prediction",
    "feature-map-pruning": "feature-map pruning",
    "zap+feature-map-pruning": "ZAP + feature-map pruning",
    "none": "no skipping (control)",
    "value-prediction+feature-map-pruning": "value prediction + feature-map pruning",
}
"""Method in the results -> name in the report, in the order in which they are shown."""

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
    """Read the operating points of a list, and those of the sweeps `*_patterns.json` beside it.

    Raises UserError naming the file and the entry that is no operating point.
    """
    points = read_points(file)
    for sweep in sorted(file.parent.glob("*_patterns.json")):
        points += _sweep(sweep)
    return points


def csv_row(point: MeasuredPoint) -> dict[str, object]:
    """Return a row of a CSV file: all figures that every method has, but for the line, a list."""
    return {column: getattr(point, column) for column in _COLUMNS}


def by_network(points: Iterable[MeasuredPoint]) -> dict[str, list[MeasuredPoint]]:
    """Group operating points by network and dataset, in the order in which they come."""
    groups: dict[str, list[MeasuredPoint]] = {}
    for point in points:
        groups.setdefault(point.where, []).append(point)
    return groups


def series(points: Iterable[MeasuredPoint], *, masks: bool = True) -> list[list[MeasuredPoint]]:
    """Group operating points by network, method and tuning, each group by rising MAC reduction.

    Methods come in the order of METHODS. With `masks`, uniform operating points of different
    patterns are groups of their own.
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
    """Return the method's name in the report; one that is not in METHODS keeps its own."""
    return METHODS.get(point.method, point.method)


@dataclass(frozen=True)
class Estimate:
    """Means of the absolute differences between predictions and measurements."""

    points: int
    """Operating points that were compared."""
    drop: float
    """Percentage points of top-1 accuracy."""
    mac_reduction: float
    """Share of all conv MACs."""


def estimate(points: Sequence[MeasuredPoint]) -> Estimate | None:
    """Compare predicted operating points that lose at most LARGEST_DROP; None if there are none."""
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
    """Read the uniform operating points that `quant.evaluate --json` wrote, without pruned ones."""
    try:
        document = read_json(file)
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
