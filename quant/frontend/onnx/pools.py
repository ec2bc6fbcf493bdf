"""Imports the pooling operators of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import NodeProto, TensorProto, helper

from quant.frontend.onnx.nodes import NodeImport, Result, handles
from quant.frontend.onnx.operators import window_padding
from quant.frontend.operations import Pool
from quant.frontend.refusals import DILATED_POOL, TWO_AXES_MEAN
from quant.frontend.windows import average_pool, max_pool

__all__: list[str] = []


@handles("MaxPool", "AveragePool")
def _pool(at: NodeImport, node: NodeProto) -> Result:
    kernel = at.attribute(node, "kernel_shape", None)
    if len(kernel) != 2:
        raise at.refusal(node, "only pooling over height and width has hardware")
    stride = at.attribute(node, "strides", [1, 1])
    if any(step != 1 for step in at.attribute(node, "dilations", [1, 1])):
        raise at.refusal(node, DILATED_POOL)
    padding = window_padding(at, node, kernel, stride, (1, 1))
    _drop_last_windows(at, node, stride, padding)
    common, size = at.common(node, node.input[0]), at.whole_shape(node.input[0])[2:]
    if node.op_type == "MaxPool":
        return max_pool(common, size, kernel, stride, padding)
    counts_padding = bool(at.attribute(node, "count_include_pad", 0))
    return average_pool(
        at.network, common, size, kernel, stride, padding, counts_padding=counts_padding
    )


def _drop_last_windows(
    at: NodeImport, node: NodeProto, stride: Sequence[int], padding: Sequence[int]
) -> None:
    """Correct the inferred size of a pooling with ceil_mode, as onnxruntime does.

    A window that would begin in the padding behind the map is no window; onnx counts it.
    """
    if not at.attribute(node, "ceil_mode", 0):
        return
    images, channels, *counts = at.whole_shape(node.output[0])
    for axis, size in enumerate(at.whole_shape(node.input[0])[2:]):
        if (counts[axis] - 1) * stride[axis] >= size + padding[2 * axis]:
            counts[axis] -= 1
    sizes = images, channels, *counts
    at.types[node.output[0]] = helper.make_tensor_type_proto(TensorProto.FLOAT, sizes)


@handles("GlobalMaxPool", "GlobalAveragePool")
def _global_pool(at: NodeImport, node: NodeProto) -> Result:
    return _over_map(at, node, node.op_type == "GlobalMaxPool", keeps_axes=True)


@handles("ReduceMean", "ReduceMax")
def _reduce(at: NodeImport, node: NodeProto) -> Result:
    rank = len(at.whole_shape(node.input[0]))
    axes = at.integers(node, "axes", 1) or []
    if rank != 4 or {axis % rank for axis in axes} != {2, 3}:
        raise at.refusal(node, TWO_AXES_MEAN)
    keeps_axes = bool(at.attribute(node, "keepdims", 1))
    return _over_map(at, node, node.op_type == "ReduceMax", keeps_axes=keeps_axes)


def _over_map(at: NodeImport, node: NodeProto, largest: bool, *, keeps_axes: bool) -> Pool:
    height, width = at.whole_shape(node.input[0])[2:]
    kind: Any = "max_pool" if largest else "average_pool"
    return Pool(
        **at.common(node, node.input[0]),
        kind=kind,
        kernel=(height, width),
        stride=(height, width),
        flat=not keeps_axes,
    )
