"""Handlers of poolings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import fx

from quant.frontend.operations import Affine, Pool, pair
from quant.frontend.pytorch.nodes import NodeImport, Result, handles
from quant.frontend.refusals import DILATED_POOL, TWO_AXES_MEAN
from quant.frontend.windows import adaptive_pool, average_pool, max_pool

__all__: list[str] = []

aten = torch.ops.aten


@handles(aten.max_pool2d.default, aten.max_pool2d_with_indices.default)
def _max_pool(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    if pair(arguments["dilation"]) != (1, 1):
        raise at.refusal(node, DILATED_POOL)
    common = at.common(node, node.args[0])
    return max_pool(common, at.whole_shape(node.args[0])[2:], *_windows(arguments))


@handles(aten.avg_pool2d.default)
def _average_pool(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    common, size = at.common(node, node.args[0]), at.whole_shape(node.args[0])[2:]
    kernel, stride, padding = _windows(arguments)
    divisor = arguments["divisor_override"]
    if divisor is None:
        counts_padding = bool(arguments["count_include_pad"])
        return average_pool(
            at.network, common, size, kernel, stride, padding, counts_padding=counts_padding
        )
    # The sum over a constant: what is beyond the map is zero.
    whole = max_pool(common, size, kernel, stride, padding)
    assert isinstance(whole, Pool)
    sums = replace(whole, kind="average_pool", name=at.network.new_name(f"{whole.name}:sum"))
    sums.stands_for = None
    at.network.operations.append(sums)
    gain = torch.full((sums.shape[0],), kernel[0] * kernel[1] / divisor, dtype=torch.float64)
    common = {**common, "inputs": [sums.name]}
    return Affine(**common, gain=gain, offset=torch.zeros_like(gain))


def _windows(
    arguments: dict[str, Any],
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """The kernel, the stride, and the padding as (top, bottom, left, right)."""
    kernel = pair(arguments["kernel_size"])
    stride = pair(arguments["stride"]) if arguments["stride"] else kernel
    vertical, horizontal = pair(arguments["padding"])
    return kernel, stride, (vertical, vertical, horizontal, horizontal)


@handles(aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool2d.default)
def _adaptive_pool(at: NodeImport, node: fx.Node) -> Result:
    largest = node.target == aten.adaptive_max_pool2d.default
    size = at.whole_shape(node.args[0])[2:]
    common = at.common(node, node.args[0])
    if size == common["shape"][1:]:
        return at.tensor(node, node.args[0])
    return adaptive_pool(common, "max_pool" if largest else "average_pool", size)


@handles(aten.mean.dim, aten.amax.default)
def _over_map(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    whole = at.whole_shape(node.args[0])
    axes = {axis % len(whole) for axis in arguments["dim"] or ()}
    if len(whole) != 4 or axes != {2, 3}:
        raise at.refusal(node, TWO_AXES_MEAN)
    channels, height, width = whole[1:]
    common = at.common(node, node.args[0])
    return Pool(
        **{**common, "shape": common["shape"] if arguments["keepdim"] else (channels,)},
        kind="max_pool" if node.target == aten.amax.default else "average_pool",
        kernel=(height, width),
        stride=(height, width),
        flat=not arguments["keepdim"],
    )
