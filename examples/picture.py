"""A picture like figure 1 of the ZAP paper: one ofm, what was computed of it, what was skipped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from torch import Tensor

from golden.bundle import Bundle
from tb.engine import Layer

__all__ = ["draw"]

_CLASSES = {
    "computed by the pattern": "#3b6fb6",
    "predicted non-zero, computed": "#9dc3e6",
    "predicted zero, skipped": "#f2f2f2",
    "skipped, was not zero": "#d1495b",
}


def draw(bundle: Bundle, layers: Sequence[Layer], pixels: Tensor, path: Path) -> Path:
    """Write the picture of the first layer with ZAP; returns its path.

    Shows the channel that best has both, activations and skips.
    """
    layer = next(layer for layer in layers if layer.predictor is not None)
    result = layer.expected
    dense, ofm = result.dense[0].numpy(), result.ofm[0].numpy()
    keep = result.keep[0].numpy()
    alive = (dense > 0).mean((1, 2))
    skipped = (~keep).mean((1, 2))
    channel = int(np.argmax(np.minimum(alive, skipped)))
    assert layer.predictor is not None
    pattern = layer.predictor.pattern.mask(*dense.shape[1:])

    kind = np.where(pattern, 0, np.where(keep[channel], 1, 2))
    kind[~keep[channel] & (dense[channel] > 0)] = 3
    figure, axes = plt.subplots(1, 5, figsize=(13, 3.4), constrained_layout=True)
    panels: list[tuple[str, np.ndarray, dict]] = [
        ("input", pixels.numpy().transpose(1, 2, 0).squeeze(), {"cmap": "gray_r"}),
        ("ofm", dense[channel], {"cmap": "viridis"}),
        (
            f"computed first (pattern {layer.predictor.pattern})",
            np.where(pattern, dense[channel], np.nan),
            {"cmap": "viridis"},
        ),
        ("decision", kind, {"cmap": ListedColormap(list(_CLASSES.values())), "vmin": 0, "vmax": 3}),
        ("ofm with ZAP", ofm[channel], {"cmap": "viridis"}),
    ]
    for axis, (title, image, style) in zip(axes, panels, strict=True):
        if image.ndim == 2 and "vmax" not in style and title != "input":
            style = {**style, "vmin": 0, "vmax": dense[channel].max()}
        axis.imshow(image, interpolation="nearest", **style)
        axis.set_title(title, fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.legend(
        handles=[
            Patch(facecolor=colour, edgecolor="#888888", label=label)
            for label, colour in _CLASSES.items()
        ],
        loc="outside lower center",
        ncols=len(_CLASSES),
        fontsize=9,
        frameon=False,
    )
    figure.suptitle(
        f"{bundle.manifest.name}, layer {layer.conv.name}, channel {channel}: "
        f"{int((~keep[channel]).sum())} of {keep[channel].size} activations skipped",
        fontsize=11,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.png")
    figure.savefig(scratch, dpi=120)
    plt.close(figure)
    os.replace(scratch, path)
    return path
