"""Table 1: all methods on all measured networks, beside published figures."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.page import Exhibit, Section
from bench.report.points import csv_row, method_name, series
from quant.points.results import TUNINGS, MeasuredPoint

__all__ = ["Published", "published", "table"]

_LIMITS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
"""The table's columns: percentage points of top-1 that may be lost."""
_PUBLISHED = Path(__file__).with_name("published.toml")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure from the literature; `source` is the full reference."""

    source: str
    method: str
    network: str
    dataset: str
    mac_reduction: float
    drop: float | None = None
    drop_top5: float | None = None
    top1: float | None = None
    fine_tuned: bool = False


def published() -> list[Published]:
    """Read `published.toml`."""
    content = tomllib.loads(_PUBLISHED.read_text(encoding="utf-8"))
    sources = content["sources"]
    return [
        Published(**{**figure, "source": sources[figure["source"]]}) for figure in content["figure"]
    ]


@dataclass(frozen=True)
class _Row:
    """One method on one network; `who` is network, dataset, method, tuning and top-1, as texts."""

    who: tuple[str, ...]
    points: Sequence[tuple[float, float, str]]
    """Percentage points lost, MAC reduction, and both as text."""

    @property
    def family(self) -> str:
        """The network's family: AlexNet and alexnet-cifar-half have the same."""
        match = re.match("[a-z]+", self.who[0].lower())
        return match[0] if match else self.who[0]

    def cells(self) -> list[str]:
        """For each limit, the most MACs skipped within it, if more than within the limit before."""
        cells = []
        best = -1.0  # a control skips nothing, and has a cell too
        for limit in _LIMITS:
            within = [point for point in self.points if point[0] <= limit and point[1] > best]
            if within:
                _, best, text = max(within, key=lambda point: point[1])
            cells.append(text if within else "")
        return [*self.who, *cells]


def table(points: Sequence[MeasuredPoint]) -> Section:
    """Make table 1, and below it the list of all operating points."""
    return Section(
        "All methods on all networks",
        "Each cell shows the operating point that skips most MACs among those that lose at most so "
        "many percentage points (pp) of top-1; its loss is in brackets. A cell is empty if no "
        "operating point skips more than the one to its left. Published rows are of larger "
        "networks in floating point: they show the scale.",
        [_summary(points), _everything(points)],
    )


def _summary(points: Sequence[MeasuredPoint]) -> Exhibit:
    literature = published()
    rows = [_measured(group) for group in series(points, masks=False)]
    rows += _quoted(literature)
    headings = ["network", "dataset", "method", "network is", "top-1"]
    headings += [f"≤ {limit:g}" for limit in _LIMITS]
    families = dict.fromkeys(row.family for row in rows)
    cells = [row.cells() for family in families for row in rows if row.family == family]
    references = "; ".join(dict.fromkeys(figure.source for figure in literature))
    return Exhibit(
        name="table-1",
        heading="Table 1: conv MACs skipped, in per cent, by the most percentage points lost",
        caption="Measured: integer networks, whole test set, top-1 without skipping in per cent. "
        f"† Published: {references}. ‡ Percentage points of top-5.",
        records=[dict(zip(headings, row)) for row in cells],
        table=(headings, cells),
    )


def _measured(group: Sequence[MeasuredPoint]) -> _Row:
    first = group[0]
    top1 = "" if first.int8_top1 is None else f"{first.int8_top1:.2f}"
    return _Row(
        (first.network, first.dataset, method_name(first), first.tuning, top1),
        [(p.drop, p.mac_reduction, _cell(p.mac_reduction, p.drop)) for p in group],
    )


def _quoted(literature: Sequence[Published]) -> list[_Row]:
    """Make one row of all published figures of one method on one network."""
    rows: dict[tuple[str, ...], list[tuple[float, float, str]]] = {}
    for figure in literature:
        top1 = "" if figure.top1 is None else f"{figure.top1:.2f}"
        tuning = TUNINGS[2 if figure.fine_tuned else 0]
        who = (figure.network, figure.dataset, f"{figure.method} †", tuning, top1)
        loss, unit = figure.drop, ""
        if loss is None:
            loss, unit = figure.drop_top5, " ‡"
        assert loss is not None
        text = _cell(figure.mac_reduction, loss, unit)
        rows.setdefault(who, []).append((loss, figure.mac_reduction, text))
    return [_Row(who, points) for who, points in rows.items()]


def _cell(mac_reduction: float, drop: float, unit: str = "") -> str:
    """Format MACs skipped in per cent, and percentage points lost."""
    return f"{100 * mac_reduction:.1f} ({drop:.2f}{unit})"


def _everything(points: Sequence[MeasuredPoint]) -> Exhibit:
    """List every operating point, for readers who look one up."""
    headings = ["network", "method", "pattern", "network is", "budget"]
    headings += ["lost, estimated", "lost", "skipped, estimated", "skipped"]
    rows = []
    for point in points:
        estimated = ("", "")
        if point.prediction:
            estimated = (f"{point.prediction[0]:.2f}", f"{100 * point.prediction[1]:.1f}")
        who = (point.where, method_name(point), point.pattern or "", point.tuning)
        lost, skipped = f"{point.drop:.2f}", f"{100 * point.mac_reduction:.1f}"
        rows.append([*who, point.budget or "", estimated[0], lost, estimated[1], skipped])
    return Exhibit(
        name="operating-points",
        heading="Every operating point measured",
        caption="Lost: percentage points of top-1. Skipped: conv MACs in per cent of all.",
        records=[csv_row(point) for point in points],
        table=(headings, rows),
        folded=True,
    )
