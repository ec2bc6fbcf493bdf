"""Poolings in the forms that every front end meets, as operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from quant.frontend.operations import Network, Operation, Pad, Pool, UnevenPool
from quant.frontend.passes.uneven_pools import even_runs

__all__ = ["adaptive_pool", "average_pool", "max_pool"]

Kind = Literal["max_pool", "average_pool"]
_Pair = Sequence[int]


def max_pool(
    common: dict[str, Any], size: _Pair, kernel: _Pair, stride: _Pair, padding: Sequence[int]
) -> Operation:
    """Max pooling of a map of that size; `padding` is (top, bottom, left, right).

    The last window may end beyond the map and its padding (`ceil_mode`), which is more padding.
    """
    sides: list[int] = []
    for axis in (0, 1):
        before, after = padding[2 * axis : 2 * axis + 2]
        covered = (common["shape"][axis + 1] - 1) * stride[axis] + kernel[axis]
        sides += [before, max(covered - size[axis] - before, after)]
    return _pool(common, "max_pool", kernel, stride, sides)


def average_pool(
    network: Network,
    common: dict[str, Any],
    size: _Pair,
    kernel: _Pair,
    stride: _Pair,
    padding: Sequence[int],
    *,
    counts_padding: bool,
) -> Operation:
    """Average pooling; the arguments are those of `max_pool`.

    What a window has beyond the map and its padding never counts.
    """
    axes = []
    for axis in (0, 1):
        before, after = padding[2 * axis : 2 * axis + 2]
        # In rows and columns of the padded map.
        whole = before + size[axis] + after
        first, end = (0, whole) if counts_padding else (before, before + size[axis])
        starts = [stride[axis] * number for number in range(common["shape"][axis + 1])]
        axes.append(tuple((max(start, first), min(start + kernel[axis], end)) for start in starts))
    complete = all(stop - start == k for windows, k in zip(axes, kernel) for start, stop in windows)
    if complete:
        return _pool(common, "average_pool", kernel, stride, padding)
    if counts_padding and any(padding):
        channels = network.shape(common["inputs"][0])[0]
        name = network.new_name(f"{common['name']}:padded")
        top, bottom, left, right = padding
        shape = (channels, size[0] + top + bottom, size[1] + left + right)
        padded = {**common, "name": name, "shape": shape}
        network.operations.append(Pad(**padded, amounts=(top, bottom, left, right, 0, 0)))
        network.operations[-1].stands_for = None
        common = {**common, "inputs": [name]}
    else:
        axes = [
            tuple((start - padding[2 * axis], stop - padding[2 * axis]) for start, stop in windows)
            for axis, windows in enumerate(axes)
        ]
    rows, columns = axes
    return UnevenPool(**common, kind="average_pool", rows=rows, columns=columns)


def adaptive_pool(common: dict[str, Any], kind: Kind, size: _Pair) -> Operation:
    """Pooling to the size of the result: windows that overlap where the sizes do not divide."""
    axes = []
    for axis in (0, 1):
        inputs, outputs = size[axis], common["shape"][axis + 1]
        axes.append(
            tuple(
                (number * inputs // outputs, math.ceil((number + 1) * inputs / outputs))
                for number in range(outputs)
            )
        )
    rows, columns = axes
    if any(len(even_runs(windows)) > 1 for windows in axes):
        return UnevenPool(**common, kind=kind, rows=rows, columns=columns)
    kernel = [windows[0][1] for windows in axes]
    stride = [w[1][0] if len(w) > 1 else k for w, k in zip(axes, kernel)]
    return _pool(common, kind, kernel, stride, (0, 0, 0, 0))


def _pool(
    common: dict[str, Any], kind: Kind, kernel: _Pair, stride: _Pair, padding: Sequence[int]
) -> Pool:
    top, bottom, left, right = padding
    return Pool(
        **common,
        kind=kind,
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        padding=(top, bottom, left, right),
    )
