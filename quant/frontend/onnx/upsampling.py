"""Imports the operators of ONNX that make maps larger."""

from __future__ import annotations

from onnx import NodeProto

from quant.frontend.onnx.nodes import NodeImport, Result, handles
from quant.frontend.onnx.operators import transposed_cropping
from quant.frontend.operations import DepthToSpace, TransposedConvolution, Upsample
from quant.frontend.refusals import UPSAMPLING

__all__: list[str] = []

_RULES = 11
"""The opset from which Resize has rules of its own."""


@handles("Resize", "Upsample")
def _resize(at: NodeImport, node: NodeProto) -> Result:
    """Nearest-neighbour resizing by whole numbers."""
    before, after = at.whole_shape(node.input[0])[2:], at.whole_shape(node.output[0])[2:]
    if at.attribute(node, "mode", "nearest") != "nearest" or len(before) != 2:
        raise at.refusal(node, UPSAMPLING)
    if any(new % old for old, new in zip(before, after)):
        raise at.refusal(node, UPSAMPLING)
    if before == after:
        return at.same(node)
    factors = (after[0] // before[0], after[1] // before[1])
    if not _repeats(at, node, max(factors)):
        raise at.refusal(node, UPSAMPLING)
    return Upsample(**at.common(node, node.input[0]), factors=factors)


def _repeats(at: NodeImport, node: NodeProto, factor: int) -> bool:
    """Return whether a pixel of the result is the one at its place, divided and rounded down.

    `factor` is the largest by which a side grows. Other rules move the pixels.
    """
    if at.opset < _RULES:
        return True
    place = at.attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = at.attribute(node, "nearest_mode", "round_prefer_floor")
    if place == "asymmetric":
        return rounding == "floor" or (rounding == "round_prefer_floor" and factor <= 2)
    return place in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") and (
        rounding in ("round_prefer_floor", "round_prefer_ceil")
    )


@handles("DepthToSpace")
def _depth_to_space(at: NodeImport, node: NodeProto) -> Result:
    size = at.attribute(node, "blocksize", 1)
    if size == 1:
        return at.same(node)
    blocks_first = at.attribute(node, "mode", "DCR") == "DCR"
    common = at.common(node, node.input[0])
    return DepthToSpace(**common, block=(size, size), blocks_first=blocks_first)


@handles("ConvTranspose")
def _conv_transpose(at: NodeImport, node: NodeProto) -> Result:
    weight, bias = at.weight(node, 1), at.weight(node, 2)
    assert weight is not None
    if weight.ndim != 4:
        raise at.refusal(node, "only convolutions over height and width have hardware")
    stride = at.attribute(node, "strides", [1, 1])
    dilation = at.attribute(node, "dilations", [1, 1])
    groups = at.attribute(node, "group", 1)
    kernel = (weight.shape[2], weight.shape[3])
    return TransposedConvolution(
        **at.common(node, node.input[0]),
        weight=weight,
        bias=weight.new_zeros(weight.shape[1] * groups) if bias is None else bias,
        stride=(stride[0], stride[1]),
        cropping=transposed_cropping(at, node, kernel, stride, dilation),
        dilation=(dilation[0], dilation[1]),
        groups=groups,
    )
