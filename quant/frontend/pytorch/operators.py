"""Handlers of layers and arithmetic."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from quant.frontend.arithmetic import affine
from quant.frontend.operations import (
    Add,
    Affine,
    Clamp,
    Convolution,
    Dropout,
    Linear,
    OnHost,
    pair,
)
from quant.frontend.pytorch.nodes import NodeImport, Result, handles
from quant.frontend.refusals import (
    CONSTANT_NUMERATOR,
    DIVISOR,
    NOT_FLATTENED,
    OTHER_SIZE,
    PRODUCT,
    WHOLE_IMAGES,
)

__all__: list[str] = []

aten = torch.ops.aten


@handles(aten.conv2d.default, aten.conv2d.padding)
def _conv(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    weight = at.constant(node, arguments["weight"])
    bias = at.constant(node, arguments["bias"])
    dilation = pair(arguments["dilation"])
    padding = arguments["padding"]
    if padding == "valid":
        padding = (0, 0)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:])]
        sides = tuple(side for total in totals for side in (total // 2, total - total // 2))
    else:
        vertical, horizontal = pair(padding)
        sides = (vertical, vertical, horizontal, horizontal)
    return Convolution(
        **at.common(node, arguments["input"]),
        weight=weight,
        bias=weight.new_zeros(len(weight)) if bias is None else bias,
        stride=pair(arguments["stride"]),
        padding=sides,  # type: ignore[arg-type]
        dilation=dilation,
        groups=arguments["groups"],
    )


@handles(aten.linear.default)
def _linear(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    weight = at.constant(node, arguments["weight"])
    bias = at.constant(node, arguments["bias"])
    if len(at.whole_shape(arguments["input"])) != 2:
        raise at.refusal(node, NOT_FLATTENED)
    return Linear(
        **at.common(node, arguments["input"]),
        weight=weight,
        bias=weight.new_zeros(len(weight)) if bias is None else bias,
    )


@handles(aten._native_batch_norm_legit_no_training.default)
def _batch_norm(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    mean, variance, weight, bias = (
        at.constant(node, arguments[name])
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    gain = (variance.double() + arguments["eps"]).rsqrt()
    if weight is not None:
        gain = gain * weight.double()
    offset = -mean.double() * gain
    if bias is not None:
        offset = offset + bias.double()
    return Affine(**at.common(node, arguments["input"]), gain=gain, offset=offset)


@handles(
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.clip.default,
)
def _clamp(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    if node.target == aten.relu.default:
        low, high = 0.0, math.inf
    elif node.target == aten.relu6.default:
        low, high = 0.0, 6.0
    elif node.target == aten.hardtanh.default:
        low, high = float(arguments["min_val"]), float(arguments["max_val"])
    else:
        low = -math.inf if arguments["min"] is None else float(arguments["min"])
        high = math.inf if arguments["max"] is None else float(arguments["max"])
    return Clamp(**at.common(node, node.args[0]), low=low, high=high)


@handles(aten.threshold.default)
def _threshold(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    if (arguments["threshold"], arguments["value"]) != (0, 0):
        raise at.refusal(node, "only a threshold at 0 with zeros below, a ReLU, has hardware")
    return Clamp(**at.common(node, node.args[0]))


@handles(aten.maximum.default, aten.minimum.default, aten.clamp.Tensor)
def _limit(at: NodeImport, node: fx.Node) -> Result:
    """A limit that is a tensor of one number."""
    arguments = at.arguments(node)
    if node.target == aten.clamp.Tensor:
        tensor, low, high = (arguments[name] for name in ("self", "min", "max"))
    else:
        operands = [arguments["self"], arguments["other"]]
        tensor, limit = operands if operands[0] in at.values else operands[::-1]
        low, high = (limit, None) if node.target == aten.maximum.default else (None, limit)
    limits = []
    for operand, none in ((low, -math.inf), (high, math.inf)):
        value = at.constant(node, operand)
        if value is not None and value.numel() != 1:
            raise at.refusal(node, "only a limit that is one number has hardware")
        limits.append(none if value is None else float(value))
    return Clamp(**at.common(node, tensor), low=limits[0], high=limits[1])


@handles(aten.clamp_min.default)
def _clamp_min(at: NodeImport, node: fx.Node) -> Result:
    return Clamp(**at.common(node, node.args[0]), low=float(at.constant(node, node.args[1])))


@handles(aten.add.Tensor, aten.sub.Tensor, aten.add.Scalar, aten.sub.Scalar)
def _add(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    alpha = float(arguments.get("alpha", 1))
    sign = -alpha if node.target in (aten.sub.Tensor, aten.sub.Scalar) else alpha
    left, right = node.args[0], node.args[1]
    if left in at.values and right in at.values:
        if sign != 1:
            raise at.refusal(node, "only a plain sum of two tensors has hardware: alpha must be 1")
        if at.whole_shape(left) != at.whole_shape(right):
            raise at.refusal(node, OTHER_SIZE)
        return Add(**at.common(node, left, right))
    if left in at.values:
        return affine(at, node, left, 1, _scaled(at.constant(node, right), sign))
    return affine(at, node, right, sign, at.constant(node, left))


@handles(aten.rsub.Scalar)
def _reversed_sub(at: NodeImport, node: fx.Node) -> Result:
    return affine(at, node, node.args[0], -1, at.constant(node, node.args[1]))


@handles(aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)
def _mul(at: NodeImport, node: fx.Node) -> Result:
    left, right = node.args[0], node.args[1]
    if left in at.values and right in at.values:
        raise at.refusal(node, PRODUCT if node.target == aten.mul.Tensor else DIVISOR)
    divides = node.target in (aten.div.Tensor, aten.div.Scalar)
    if left not in at.values:
        if divides:
            raise at.refusal(node, CONSTANT_NUMERATOR)
        left, right = right, left
    factor = at.constant(node, right)
    return affine(at, node, left, 1 / factor if divides else factor, 0)


@handles(aten.neg.default)
def _neg(at: NodeImport, node: fx.Node) -> Result:
    return affine(at, node, node.args[0], -1, 0)


def _scaled(value: Any, factor: float) -> Any:
    return value if factor == 1 else value * factor


@handles(aten.clone.default, aten.alias.default, aten.detach.default, aten.contiguous.default)
def _clone(at: NodeImport, node: fx.Node) -> Result:
    """Dropout is exported as a copy; of what it was the program before still tells."""
    dropout = at.dropouts.get(at.origin(node))
    if dropout is None:
        return at.tensor(node, node.args[0])
    return Dropout(**at.common(node, node.args[0]), share=float(dropout[1]))


@handles(
    aten.softmax.int,
    aten._softmax.default,
    aten.log_softmax.int,
    aten._log_softmax.default,
    aten.sigmoid.default,
    aten.argmax.default,
)
def _on_host(at: NodeImport, node: fx.Node) -> Result:
    """Allowed at the end alone, which a pass checks."""
    arguments = at.arguments(node)
    kind = at.origin(node).rstrip("_0123456789")
    axes: tuple[int, ...] = ()
    if kind != "sigmoid":
        if arguments["dim"] is None:
            raise at.refusal(node, WHOLE_IMAGES)
        axes = (arguments["dim"] % len(at.whole_shape(node.args[0])),)
        if axes == (0,):
            raise at.refusal(node, WHOLE_IMAGES)
    keeps_axis = bool(arguments.get("keepdim", False))
    return OnHost(**at.common(node, node.args[0]), kind=kind, axes=axes, keeps_axis=keeps_axis)
