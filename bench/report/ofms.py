"""Pictures like figures 1 and 3 of the ZAP paper: an ofm, its pattern and its skips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from bench.report import style
from golden.layers import ConvResult
from golden.pattern import Pattern

__all__ = ["KINDS", "Decision", "draw"]

KINDS = {
    "computed by the pattern": "#3b6fb6",
    "predicted non-zero, computed": "#9dc3e6",
    "predicted zero, skipped": "#f2f2f2",
    "skipped, was not zero": style.WRONG,
}
"""Possible decisions about an activation -> their colours."""


@dataclass(frozen=True)
class Decision:
    """The result of a layer with ZAP on one image; `result` is of a batch of one."""

    layer: str
    pattern: Pattern
    result: ConvResult

    @property
    def channel(self) -> int:
        """The channel that has most of both, activations and skips."""
        alive = (self.result.dense[0] > 0).double().mean((1, 2))
        skipped = (~self.result.keep[0]).double().mean((1, 2))
        return int(alive.minimum(skipped).argmax())

    def kinds(self) -> np.ndarray:
        """Return the index in `KINDS` of each activation of the channel: (height, width)."""
        keep = self.result.keep[0, self.channel].numpy()
        dense = self.result.dense[0, self.channel].numpy()
        computed = self.pattern.mask(*dense.shape)
        return np.select([computed, keep, dense == 0], [0, 1, 2], 3)


def draw(pixels: Tensor, decisions: Sequence[Decision]) -> Figure:
    """Draw one row for each decision on the image `pixels`, (channels, height, width) of 0 .. 1."""
    figure, axes = style.new(0.6 + 1.85 * len(decisions), len(decisions), 5)
    for row in axes[1:]:
        row[0].set_axis_off()
    image = pixels.numpy().transpose(1, 2, 0)
    _show(axes[0, 0], image if image.shape[2] == 3 else image[..., 0], cmap="gray_r")
    for row, decision in zip(axes, decisions):
        dense, ofm = (
            tensor[0, decision.channel].numpy()
            for tensor in (decision.result.dense, decision.result.ofm)
        )
        kinds = decision.kinds()
        values: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": max(dense.max(), 1)}
        _show(row[1], dense, **values)
        _show(row[2], np.where(kinds == 0, dense, np.nan), **values)
        colours = ListedColormap(list(KINDS.values()))
        _show(row[3], kinds, cmap=colours, vmin=0, vmax=len(KINDS) - 1)
        _show(row[4], ofm, **values)
        row[1].set_ylabel(f"{decision.layer}, channel {decision.channel}")
        row[2].set_xlabel(f"pattern {decision.pattern}")
        row[3].set_xlabel(f"{np.sum(kinds >= 2)} of {kinds.size} skipped")
    for axis, title in zip(
        axes[0], ("input", "ofm", "computed first", "decision", "ofm with ZAP"), strict=True
    ):
        axis.set_title(title)
    figure.legend(
        handles=[
            Patch(facecolor=colour, edgecolor="#888888", label=kind)
            for kind, colour in KINDS.items()
        ],
        loc="outside lower center",
        ncols=len(KINDS),
    )
    return figure


def _show(axes: Axes, image: np.ndarray, **options: Any) -> None:
    axes.imshow(image, interpolation="nearest", **options)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
