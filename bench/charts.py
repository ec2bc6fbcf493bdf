"""Charts of measured cycles: one for each network, and one of all networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report import style

if TYPE_CHECKING:
    from bench.designs import Design

__all__ = ["chart_files", "draw_charts", "draw_designs"]

_BARS = {
    "cycles_off": ("ZAP off", "#9ecae1"),
    "cycles_idle_lanes": ("ZAP on, idle lanes", "#e39ab4"),
    "cycles_on": ("ZAP on", "#cc3d6f"),
    "limit_cycles": ("remaining MACs / multipliers", style.LIGHT),
}


def chart_files(networks: Sequence[str], folder: Path) -> list[Path]:
    """Return the files that `draw_charts` writes."""
    return [folder / f"{name}.png" for name in (*networks, "networks")]


def draw_charts(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write the charts of `summary.json`'s rows as PNG files; return the files."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    *files, whole = chart_files(networks, folder)
    for network, file in zip(networks, files, strict=True):
        own = [row for row in rows if row["network"] == network and row.get("convolution")]
        _layers(network, own, file)
    _networks([row for row in rows if row["layer"] is None], whole)
    return [*files, whole]


def draw_designs(
    network: str, designs: Sequence[Design], best: Sequence[Design], file: Path
) -> Path:
    """Draw cycles of designs against multipliers and block RAM; `best` are highlighted."""
    figure, (axes,) = style.new(2.8, 1, 2, sharey=True)
    for axis, field, label in (
        (axes[0], "multipliers", "multipliers"),
        (axes[1], "block_rams", "block RAMs"),
    ):
        for chosen, colour, text in (
            (designs, style.LIGHT, "beaten"),
            (best, "#cc3d6f", "beaten by none"),
        ):
            at = [getattr(design, field) for design in chosen]
            axis.plot(at, [d.cycles_on for d in chosen], "o", color=colour, label=text)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel(label)
    axes[0].set_ylabel("cycles, ZAP on")
    axes[0].set_title(f"{network}: designs by the cycle model")
    axes[1].legend()
    return style.save(figure, file)


def _layers(network: str, rows: Sequence[Mapping[str, Any]], file: Path) -> Path:
    """Draw the cycles of each convolution, as shares of its cycles without ZAP."""
    figure, ((axes,),) = style.new(2.8)
    at = np.arange(len(rows))
    measured = {field: look for field, look in _BARS.items() if rows[0][field] is not None}
    width = 0.8 / len(measured)
    whole = np.array([row["cycles_off"] for row in rows])
    for number, (field, (label, colour)) in enumerate(measured.items()):
        heights = np.array([row[field] for row in rows]) / whole
        place = at + (number - (len(measured) - 1) / 2) * width
        axes.bar(place, heights, width, label=label, color=colour)
    axes.set_xticks(at, [row["layer"] for row in rows], rotation=40, ha="right")
    axes.yaxis.set_major_formatter(style.PERCENT)
    axes.grid(axis="x", visible=False)
    axes.set_title(f"{network}: cycles of each convolution, relative to ZAP off", pad=22)
    axes.legend(ncols=len(_BARS), loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
    return style.save(figure, file)


def _networks(rows: Sequence[Mapping[str, Any]], file: Path) -> Path:
    """Draw the speed-up of all convolutions beside the speed-up that the saved MACs promise."""
    figure, ((axes,),) = style.new(2.6)
    at = np.arange(len(rows))
    promised = np.array([1 / (1 - row["mac_reduction"]) for row in rows])
    reached = np.array([row["cycles_off"] / row["cycles_on"] for row in rows])
    series = [
        (promised, "1 / (1 - MACs saved)", style.LIGHT),
        (reached, "ZAP on", "#cc3d6f"),
    ]
    if all(row["cycles_idle_lanes"] for row in rows):
        idle = np.array([row["cycles_off"] / row["cycles_idle_lanes"] for row in rows])
        series.append((idle, "ZAP on, idle lanes", "#e39ab4"))
    for number, (heights, label, colour) in enumerate(series):
        place = at + 0.27 * (number - (len(series) - 1) / 2)
        bars = axes.bar(place, heights, 0.25, label=label, color=colour)
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.axhline(1, color=style.INK, linewidth=0.8)
    axes.set_xticks(at, [f"{row['network']}\n{row['config']}" for row in rows])
    axes.grid(axis="x", visible=False)
    axes.set_title("Speed-up of the convolutions", pad=22)
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
    return style.save(figure, file)
