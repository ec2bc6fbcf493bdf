"""The look of every figure: quiet axes, and colours that colour-blind readers tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from golden.files import write_file

__all__ = ["INK", "LIGHT", "MASKS", "METHODS", "PERCENT", "WRONG", "ZAP", "new", "save"]

_PAGE_WIDTH = 9.0
"""Inches; a figure of this width is as wide as the page."""

PERCENT = FuncFormatter(lambda share, _: f"{100 * share:g} %")
"""Labels an axis of shares in per cent."""

INK = "#333333"
LIGHT = "#d9d9d9"
ZAP = "#cc3d6f"
"""The colour of what runs with ZAP."""
WRONG = "#d55e00"
"""The colour of mistakes, and of nothing else."""
MASKS = {"A": "#9ecae1", "B": "#56a0ce", "C": "#2171b5", "D": "#08306b"}
"""Colours of the paper's masks: the darker, the less is computed before prediction."""
METHODS = {
    "zap": ZAP,
    "zap-per-layer": "#e39ab4",
    "value-prediction": "#009e73",
    "feature-map-pruning": "#e69f00",
    "zap+feature-map-pruning": "#7b4173",
}

matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.labelsize": 9,
        "axes.labelcolor": INK,
        "axes.edgecolor": "#888888",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e8e8e8",
        "grid.linewidth": 0.7,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "lines.markersize": 5,
        "savefig.dpi": 160,
        "svg.hashsalt": "zapcore",
        "figure.constrained_layout.w_pad": 0.08,
    }
)


def new(
    height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Make a figure of page width, `height` inches high, and its axes, (rows, columns).

    `options` are those of `Figure.subplots`.
    """
    figure = Figure(figsize=(_PAGE_WIDTH, height), layout="constrained")
    axes: np.ndarray = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes


def save(figure: Figure, file: Path) -> Path:
    """Write a figure in the format that the file's name ends with; return the file.

    The same figure gives the same SVG file, byte for byte.
    """
    kind = file.suffix.removeprefix(".")
    dated = {"svg": "Date", "pdf": "CreationDate"}
    metadata = {dated[kind]: None} if kind in dated else None
    return write_file(file, lambda stream: figure.savefig(stream, format=kind, metadata=metadata))
