"""Sections about the cost of skipping: operating points, estimates, the accuracy-error line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report import style
from bench.report.page import Exhibit, Section
from bench.report.points import (
    LARGEST_DROP,
    by_network,
    csv_row,
    estimate,
    method_name,
    series,
)
from quant.points.results import TUNINGS, MeasuredPoint

__all__ = ["estimates", "line", "operating_points"]

_LINES = dict(zip(TUNINGS, (":", "-", "--")))
_MARKERS = {
    "zap": "o",
    "zap-uniform": "s",
    "value-prediction": "^",
    "feature-map-pruning": "D",
    "none": "x",
}
_MOST_SHOWN = 6.0
"""Percentage points of top-1; operating points that lose more are not drawn."""


def _colour(point: MeasuredPoint) -> str:
    if point.method == "zap-uniform":
        return style.MASKS.get(str(point.pattern), style.INK)
    return style.METHODS.get(point.method, style.INK)


def _look(point: MeasuredPoint) -> dict[str, Any]:
    """Return colour, line and marker of a series; combined methods have no line."""
    line = "" if "+" in point.method else _LINES[point.tuning]
    return {"color": _colour(point), "ls": line, "marker": _MARKERS.get(point.method, "P")}


def _handles(groups: Sequence[Sequence[MeasuredPoint]]) -> list[Line2D]:
    """Make a legend of the series' colours and markers, and of their lines."""
    handles: dict[str, Line2D] = {}
    for first, *_ in groups:
        name = method_name(first)
        if first.method == "zap-uniform":
            name = f"{name}, mask {first.pattern}"
        handles.setdefault(name, Line2D([], [], **{**_look(first), "ls": "-"}, label=name))
    for tuning in TUNINGS:
        if any(first.tuning == tuning for first, *_ in groups):
            line = Line2D([], [], color=style.INK, ls=_LINES[tuning], label=f"network {tuning}")
            handles[tuning] = line
    return list(handles.values())


def operating_points(points: Sequence[MeasuredPoint]) -> Section:
    """Draw figure 9: MACs skipped against accuracy lost, for every operating point."""
    return Section(
        "Operating points",
        "Conv MACs skipped against percentage points (pp) of top-1 lost, each measured on the "
        "whole test set (paper, figure 9): masks A to D with one threshold in all layers, patterns "
        "and thresholds chosen for each layer, and the two other systems. Further right and lower "
        "is better.",
        [_operating_points(where, group) for where, group in by_network(points).items()],
    )


def _operating_points(where: str, points: Sequence[MeasuredPoint]) -> Exhibit:
    figure, axes = style.new(4.4)
    axis = axes[0, 0]
    groups = series(points)
    for group in groups:
        reductions = [point.mac_reduction for point in group]
        axis.plot(reductions, [point.drop for point in group], **_look(group[0]))
    axis.axhline(0, color="#888888", lw=0.8, zorder=1)
    _limit_drops(axis, [point.drop for point in points])
    axis.set_xlim(left=0)
    axis.set_xlabel("conv MACs skipped")
    axis.set_ylabel("top-1 lost, pp")
    axis.xaxis.set_major_formatter(style.PERCENT)
    figure.legend(handles=_handles(groups), loc="outside right upper")
    beyond = sum(point.drop > _MOST_SHOWN for point in points)
    note = f" Not drawn: {beyond} that lose more than {_MOST_SHOWN:g} pp." if beyond else ""
    return Exhibit(
        name=f"operating-points-{points[0].slug}",
        heading=where,
        caption=f"{_tops(points)}{note}",
        figure=figure,
        records=[csv_row(point) for point in points],
    )


def estimates(points: Sequence[MeasuredPoint]) -> Section:
    """Draw figure 7: estimates made before an operating point was run, and measurements."""
    return Section(
        "Estimate against measurement",
        "Each operating point as statistics of training images estimated it before it was run, "
        "and as it was measured on the test set afterwards (paper, figure 7).",
        [
            _estimates(where, group)
            for where, group in by_network(point for point in points if point.prediction).items()
        ],
    )


def _estimates(where: str, points: Sequence[MeasuredPoint]) -> Exhibit:
    figure, axes = style.new(3.6, 1, 3, width_ratios=(1.5, 1, 1))
    curve, drops, reductions = axes[0]
    groups = series(points)
    for group in groups:
        look = _look(group[0])
        apart = {**look, "ls": ""}
        measured = np.array([(point.mac_reduction, point.drop) for point in group])
        estimated = np.array([(e[1], e[0]) for point in group if (e := point.prediction)])
        curve.plot(*measured.T, **look)
        curve.plot(*estimated[estimated[:, 0].argsort()].T, **{**look, "mfc": "white", "lw": 0.8})
        drops.plot(estimated[:, 1], measured[:, 1], **apart)
        reductions.plot(estimated[:, 0], measured[:, 0], **apart)
    curve.set_title("trade-off")
    curve.set_xlabel("conv MACs skipped")
    curve.set_ylabel("top-1 lost, pp")
    curve.xaxis.set_major_formatter(style.PERCENT)
    curve.locator_params(axis="x", nbins=6)
    _limit_drops(curve, [drop for p in points for drop in (p.drop, p.predicted_drop or 0)])
    drops.set_title("top-1 lost, pp")
    reductions.set_title("conv MACs skipped")
    for axis in (drops, reductions):
        _make_square(axis)
        axis.set_xlabel("estimated")
        axis.set_ylabel("measured")
    for direction in (reductions.xaxis, reductions.yaxis):
        direction.set_major_formatter(style.PERCENT)
    reductions.locator_params(nbins=5)
    figure.legend(handles=_handles(groups), loc="outside lower center", ncols=4)
    found = estimate(points)
    errors = (
        ""
        if found is None
        else (
            f" Mean error of the {found.points} operating points that lose at most "
            f"{LARGEST_DROP:g} pp: {found.drop:.2f} pp of accuracy, "
            f"{100 * found.mac_reduction:.2f} pp of MAC reduction."
        )
    )
    return Exhibit(
        name=f"estimates-{points[0].slug}",
        heading=where,
        caption="Left: filled markers are measured, hollow ones estimated. Right: on the diagonal "
        f"both agree.{errors}",
        figure=figure,
        records=[csv_row(point) for point in points],
    )


def line(points: Sequence[MeasuredPoint]) -> Section:
    """Draw figure 5: accuracy against 1 - sum eps."""
    return Section(
        "Accuracy against error",
        "Top-1 accuracy against 1 − Σε; ε is the share of a layer's ofm, by value, that is lost "
        "(paper, figure 5). Lines were measured on images held out from training, and thresholds "
        "were chosen by them. Markers are the operating points on the test set.",
        [
            _line(where, group)
            for where, group in by_network(
                p for p in points if p.error is not None and not p.fine_tuned
            ).items()
        ],
    )


def _line(where: str, points: Sequence[MeasuredPoint]) -> Exhibit:
    figure, axes = style.new(3.6)
    axis = axes[0, 0]
    groups = series(points)
    for group in groups:
        kept = [1 - point.error for point in group if point.error is not None]
        axis.plot(kept, [-point.drop for point in group], **{**_look(group[0]), "ls": ""})
    for tuning, corners in dict.fromkeys((p.tuning, p.line) for p in points if p.line):
        users = {_colour(p) for p in points if (p.tuning, p.line) == (tuning, corners)}
        colour = users.pop() if len(users) == 1 else style.INK
        x, y = np.array([(0.0, 0.0), *sorted(corners)]).T
        axis.plot(1 - x, -y, color=colour, ls=_LINES[tuning], lw=1)
    axis.axhline(0, color="#888888", lw=0.8, zorder=1)
    _limit_drops(axis, [p.drop for p in points], sign=-1)
    shown = [p.error for p in points if p.error is not None and p.drop <= _MOST_SHOWN]
    axis.set_xlim(1 - 1.1 * max(shown, default=1.0), 1)
    axis.set_xlabel("1 − Σε")
    axis.set_ylabel("top-1 against no skipping, pp")
    figure.legend(handles=_handles(groups), loc="outside right upper")
    return Exhibit(
        name=f"line-{points[0].slug}",
        heading=where,
        caption=_tops(points),
        figure=figure,
        records=[csv_row(point) for point in points],
    )


def _limit_drops(axis: Axes, drops: Sequence[float], sign: int = 1) -> None:
    """Limit the axis to the drops, times `sign`, that are drawn."""
    most = min(_MOST_SHOWN, 1.1 * max(0.5, *drops))
    axis.set_ylim(*sorted((sign * (min(0.0, *drops) - 0.05 * most), sign * most)))


def _tops(points: Sequence[MeasuredPoint]) -> str:
    """Describe the accuracy without skipping, from which drops are counted."""
    first = points[0]
    known = [
        f"{name} {value:.2f} %"
        for name, value in (("float", first.float_top1), ("int8", first.int8_top1))
        if value is not None
    ]
    images = f" of {first.images:,} test images" if first.images is not None else ""
    return f"Top-1{images} without skipping: {', '.join(known) or 'not recorded'}."


def _make_square(axis: Axes) -> None:
    """Give both axes the same limits, and draw the diagonal."""
    limits = (*axis.get_xlim(), *axis.get_ylim())
    low, high = min(0.0, *limits), max(limits)
    axis.plot([low, high], [low, high], color="#888888", lw=0.8, zorder=1.5)
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    axis.set_box_aspect(1)
    axis.set_anchor("N")
