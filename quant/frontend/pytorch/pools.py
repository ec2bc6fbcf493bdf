"""Handlers of poolings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from quant.frontend.operations import (
    Pool,
    pair,
)
from quant.frontend.pytorch.nodes import NodeImport, Result, handles
from quant.frontend.refusals import (
    CEIL_AVERAGE,
    DILATED_POOL,
    TWO_AXES_MEAN,
    UNCOUNTED_PADDING,
)

__all__: list[str] = []

aten = torch.ops.aten


@handles(aten.max_pool2d.default)
def _max_pool(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    if pair(arguments["dilation"]) != (1, 1):
        raise at.refusal(node, DILATED_POOL)
    return _pool(at, node, "max_pool", arguments)


@handles(aten.avg_pool2d.default)
def _average_pool(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    pads = any(pair(arguments["padding"]))
    if arguments["divisor_override"] is not None:
        raise at.refusal(node, "divisor_override has no hardware")
    if pads and not arguments["count_include_pad"]:
        raise at.refusal(node, UNCOUNTED_PADDING)
    return _pool(at, node, "average_pool", arguments)


def _pool(at: NodeImport, node: fx.Node, kind: Any, arguments: dict[str, Any]) -> Pool:
    kernel = pair(arguments["kernel_size"])
    stride = pair(arguments["stride"]) if arguments["stride"] else kernel
    padding = pair(arguments["padding"])
    common = at.common(node, node.args[0])
    sizes = at.whole_shape(node.args[0])[2:]
    sides: list[int] = []
    for size, k, s, p, out in zip(sizes, kernel, stride, padding, common["shape"][1:]):
        # The last window may begin inside the map and end beyond it (ceil_mode).
        sides += [p, max((out - 1) * s + k - size - p, p)]
        if sides[-1] > p and kind == "average_pool":
            raise at.refusal(node, CEIL_AVERAGE)
    return Pool(
        **common,
        kind=kind,
        kernel=kernel,
        stride=stride,
        padding=tuple(sides),  # type: ignore[arg-type]
    )


@handles(aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool2d.default)
def _adaptive_pool(at: NodeImport, node: fx.Node) -> Result:
    largest = node.target == aten.adaptive_max_pool2d.default
    sizes = at.whole_shape(node.args[0])[2:]
    common = at.common(node, node.args[0])
    if sizes == common["shape"][1:]:
        return at.tensor(node, node.args[0])
    return _even_windows(at, node, common, sizes, largest)


@handles(aten.mean.dim)
def _mean(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    whole = at.whole_shape(node.args[0])
    axes = {axis % len(whole) for axis in arguments["dim"] or ()}
    if len(whole) != 4 or axes != {2, 3}:
        raise at.refusal(node, TWO_AXES_MEAN)
    channels, height, width = whole[1:]
    common = at.common(node, node.args[0])
    return Pool(
        **{**common, "shape": common["shape"] if arguments["keepdim"] else (channels,)},
        kind="average_pool",
        kernel=(height, width),
        stride=(height, width),
        flat=not arguments["keepdim"],
    )


def _even_windows(
    at: NodeImport, node: fx.Node, common: dict[str, Any], sizes: Sequence[int], largest: bool
) -> Pool:
    height, width = sizes
    out_h, out_w = common["shape"][1:]
    if height % out_h or width % out_w:
        raise at.refusal(node, f"{height}x{width} does not divide into {out_h}x{out_w}")
    window = (height // out_h, width // out_w)
    kind: Any = "max_pool" if largest else "average_pool"
    return Pool(**common, kind=kind, kernel=window, stride=window)
