"""Handlers of what makes maps larger."""

from __future__ import annotations

import torch
from torch import fx

from quant.frontend.operations import DepthToSpace, TransposedConvolution, Upsample, pair
from quant.frontend.pytorch.nodes import NodeImport, Result, handles
from quant.frontend.refusals import UPSAMPLING

__all__: list[str] = []

aten = torch.ops.aten


@handles(
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest2d.default,
    aten._upsample_nearest_exact2d.vec,
    aten._upsample_nearest_exact2d.default,
)
def _upsample(at: NodeImport, node: fx.Node) -> Result:
    before, after = at.whole_shape(node.args[0])[2:], at.whole_shape(node)[2:]
    if any(new % old for old, new in zip(before, after)):
        raise at.refusal(node, UPSAMPLING)
    if before == after:
        return at.tensor(node, node.args[0])
    factors = (after[0] // before[0], after[1] // before[1])
    return Upsample(**at.common(node, node.args[0]), factors=factors)


@handles(aten.pixel_shuffle.default)
def _pixel_shuffle(at: NodeImport, node: fx.Node) -> Result:
    factor = at.arguments(node)["upscale_factor"]
    if factor == 1:
        return at.tensor(node, node.args[0])
    return DepthToSpace(**at.common(node, node.args[0]), block=(factor, factor))


@handles(aten.conv_transpose2d.input)
def _conv_transpose(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    weight = at.constant(node, arguments["weight"])
    bias = at.constant(node, arguments["bias"])
    (top, left), (below, right) = pair(arguments["padding"]), pair(arguments["output_padding"])
    channels = weight.shape[1] * arguments["groups"]
    return TransposedConvolution(
        **at.common(node, arguments["input"]),
        weight=weight,
        bias=weight.new_zeros(channels) if bias is None else bias,
        stride=pair(arguments["stride"]),
        cropping=(top, top - below, left, left - right),
        dilation=pair(arguments["dilation"]),
        groups=arguments["groups"],
    )
