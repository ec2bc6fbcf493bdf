"""Imports the operators of ONNX that compute: one handler each, for all opsets from 9 on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from onnx import NodeProto
from torch import Tensor

from quant.frontend.arithmetic import affine
from quant.frontend.onnx.nodes import NodeImport, Result, handles
from quant.frontend.operations import (
    Add,
    Affine,
    Clamp,
    Convolution,
    Linear,
    OnHost,
)
from quant.frontend.refusals import (
    CONSTANT_NUMERATOR,
    DIVISOR,
    NO_COUNTERPART,
    NO_ZEROS,
    NORM_OF_IMAGE,
    NOT_FLATTENED,
    OTHER_SIZE,
    PRODUCT,
    WHOLE_IMAGES,
)

__all__ = ["REASONS", "reason", "transposed_cropping", "window_padding"]

_ONE_AXIS = 13
"""The opset from which a softmax goes over one axis."""
_LARGEST = 3.4e38
"""Opsets before 11 write an absent limit of Clip as the largest float."""


def window_padding(
    at: NodeImport, node: NodeProto, kernel: Sequence[int], stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int, int, int]:  # fmt: skip
    """The padding of a convolution or pooling: (top, bottom, left, right)."""
    auto = at.attribute(node, "auto_pad", "NOTSET")
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto == "NOTSET":
        top, left, bottom, right = at.attribute(node, "pads", [0, 0, 0, 0])
        if min(top, left, bottom, right) < 0:
            raise at.refusal(node, "its padding is negative")
        return top, bottom, left, right
    sides: list[int] = []
    for size, k, s, d in zip(at.whole_shape(node.input[0])[2:], kernel, stride, dilation):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        less, more = total // 2, total - total // 2
        sides += [less, more] if auto == "SAME_UPPER" else [more, less]
    top, bottom, left, right = sides
    return top, bottom, left, right


def transposed_cropping(
    at: NodeImport, node: NodeProto, kernel: Sequence[int], stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int, int, int]:  # fmt: skip
    """Rows and columns that a transposed convolution leaves out: (top, bottom, left, right)."""
    auto = at.attribute(node, "auto_pad", "NOTSET")
    given = at.attribute(node, "output_shape", None) is not None
    pads = at.attribute(node, "pads", [0, 0, 0, 0])
    after, sides = at.whole_shape(node.output[0])[2:], []
    for axis, size in enumerate(at.whole_shape(node.input[0])[2:]):
        whole = (size - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        total = whole - after[axis]
        before = pads[axis]
        if given or auto in ("SAME_UPPER", "SAME_LOWER"):
            padded = max(total, 0)
            before = padded // 2 if auto == "SAME_UPPER" else padded - padded // 2
        sides += [before, total - before]
    top, bottom, left, right = sides
    return top, bottom, left, right


@handles("Conv")
def _conv(at: NodeImport, node: NodeProto) -> Result:
    weight, bias = at.weight(node, 1), at.weight(node, 2)
    assert weight is not None
    if weight.ndim != 4:
        raise at.refusal(node, "only convolutions over height and width have hardware")
    kernel = weight.shape[2:]
    stride = at.attribute(node, "strides", [1, 1])
    dilation = at.attribute(node, "dilations", [1, 1])
    return Convolution(
        **at.common(node, node.input[0]),
        weight=weight,
        bias=weight.new_zeros(len(weight)) if bias is None else bias,
        stride=(stride[0], stride[1]),
        padding=window_padding(at, node, kernel, stride, dilation),
        dilation=(dilation[0], dilation[1]),
        groups=at.attribute(node, "group", 1),
    )


@handles("Gemm")
def _gemm(at: NodeImport, node: NodeProto) -> Result:
    _one_tensor(at, node, node.input[1])
    weight, bias = at.weight(node, 1), at.weight(node, 2)
    assert weight is not None
    if at.attribute(node, "transA", 0):
        raise at.refusal(node, WHOLE_IMAGES)
    if not at.attribute(node, "transB", 0):
        weight = weight.T
    if bias is None:
        bias = weight.new_zeros(1)
    outputs = len(weight)
    if bias.numel() not in (1, outputs):
        raise at.refusal(node, WHOLE_IMAGES)
    return Linear(
        **at.common(node, node.input[0]),
        weight=weight.contiguous() * at.attribute(node, "alpha", 1.0),
        bias=bias.reshape(-1).expand(outputs) * at.attribute(node, "beta", 1.0),
    )


@handles("MatMul")
def _matmul(at: NodeImport, node: NodeProto) -> Result:
    _one_tensor(at, node, node.input[1])
    weight = at.weight(node, 1)
    assert weight is not None
    if len(at.whole_shape(node.input[0])) != 2 or weight.ndim != 2:
        raise at.refusal(node, NOT_FLATTENED)
    weight = weight.T.contiguous()
    common = at.common(node, node.input[0])
    return Linear(**common, weight=weight, bias=weight.new_zeros(len(weight)))


def _one_tensor(at: NodeImport, node: NodeProto, weight: str) -> None:
    if at.is_tensor(weight):
        raise at.refusal(node, PRODUCT)


@handles("BatchNormalization")
def _batch_norm(at: NodeImport, node: NodeProto) -> Result:
    if at.attribute(node, "training_mode", 0):
        raise at.refusal(node, "it is in training mode: export the model in eval mode")
    scale, shift, mean, variance = (at.weight(node, index) for index in (1, 2, 3, 4))
    assert scale is not None
    assert shift is not None
    assert mean is not None
    assert variance is not None
    gain = (variance.double() + at.attribute(node, "epsilon", 1e-5)).rsqrt() * scale.double()
    offset = shift.double() - mean.double() * gain
    return Affine(**at.common(node, node.input[0]), gain=gain, offset=offset)


@handles("Relu")
def _relu(at: NodeImport, node: NodeProto) -> Result:
    return Clamp(**at.common(node, node.input[0]))


@handles("Clip")
def _clip(at: NodeImport, node: NodeProto) -> Result:
    limits = []
    for index, name in enumerate(("min", "max"), 1):
        value = at.attribute(node, name, None)
        array = at.array(node, index) if value is None else value
        sign = -1 if index == 1 else 1
        limit = sign * math.inf if array is None else float(array)
        limits.append(limit if abs(limit) < _LARGEST else sign * math.inf)
    low, high = limits
    return Clamp(**at.common(node, node.input[0]), low=low, high=high)


@handles("Max", "Min")
def _limit(at: NodeImport, node: NodeProto) -> Result:
    tensors = [name for name in node.input if at.is_tensor(name)]
    if len(tensors) != 1 or len(node.input) != 2:
        raise at.refusal(node, "only a limit that is one number has hardware")
    value = at.array(node, 1 if node.input[0] == tensors[0] else 0)
    if value is None or value.size != 1:
        raise at.refusal(node, "only a limit that is one number has hardware")
    low, high = (float(value), math.inf) if node.op_type == "Max" else (-math.inf, float(value))
    return Clamp(**at.common(node, tensors[0]), low=low, high=high)


@handles("Add", "Sub", "Sum")
def _sum(at: NodeImport, node: NodeProto) -> Result:
    tensors = [name for name in node.input if at.is_tensor(name)]
    if len(node.input) == 1:
        return at.same(node)
    if len(tensors) == len(node.input):
        if node.op_type == "Sub":
            raise at.refusal(node, "a difference of two tensors has no hardware")
        if len({at.whole_shape(name) for name in tensors}) != 1:
            raise at.refusal(node, OTHER_SIZE)
        total = Add(**at.common(node, *tensors[:2]))
        for name in tensors[2:]:
            at.add(total)
            total = replace(total, name=at.name(node), inputs=[total.name, at.tensor(node, name)])
            total.stands_for = total.name
        return total
    if len(node.input) != 2:
        raise at.refusal(node, "a sum of several tensors and constants has no hardware")
    left, right = node.input
    sign = -1 if node.op_type == "Sub" else 1
    if at.is_tensor(left):
        return affine(at, node, left, 1, sign * _constant(at, node, 1))
    return affine(at, node, right, sign, _constant(at, node, 0))


@handles("Mul", "Div")
def _product(at: NodeImport, node: NodeProto) -> Result:
    left, right = node.input
    divides = node.op_type == "Div"
    if at.is_tensor(left) and at.is_tensor(right):
        raise at.refusal(node, DIVISOR if divides else PRODUCT)
    if not at.is_tensor(left):
        if divides:
            raise at.refusal(node, CONSTANT_NUMERATOR)
        return affine(at, node, right, _constant(at, node, 0), 0)
    factor = _constant(at, node, 1)
    return affine(at, node, left, 1 / factor if divides else factor, 0)


@handles("Neg")
def _negative(at: NodeImport, node: NodeProto) -> Result:
    return affine(at, node, node.input[0], -1, 0)


def _constant(at: NodeImport, node: NodeProto, index: int) -> Tensor:
    value = at.weight(node, index)
    assert value is not None
    return value.double()


_HOST_KINDS = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
    "ArgMax": "argmax",
}


@handles(*_HOST_KINDS)
def _on_host(at: NodeImport, node: NodeProto) -> Result:
    """Allowed at the end alone, which a pass checks."""
    rank = len(at.whole_shape(node.input[0]))
    kind = _HOST_KINDS[node.op_type]
    axes: tuple[int, ...] = ()
    if kind != "sigmoid":
        # A softmax of opsets before 13 goes over all axes from its axis on.
        whole = at.opset < _ONE_AXIS and kind != "argmax"
        default = {"argmax": 0}.get(kind, 1 if whole else -1)
        first = at.attribute(node, "axis", default) % rank
        axes = tuple(range(first, rank)) if whole else (first,)
        if first == 0:
            raise at.refusal(node, WHOLE_IMAGES)
    if kind == "argmax" and at.attribute(node, "select_last_index", 0):
        raise at.refusal(node, "select_last_index is not known")
    keeps_axis = bool(at.attribute(node, "keepdims", 1))
    return OnHost(**at.common(node, node.input[0]), kind=kind, axes=axes, keeps_axis=keeps_axis)


REASONS = {
    **dict.fromkeys(
        ("Gelu", "LeakyRelu", "PRelu", "HardSwish", "Swish", "Elu", "Selu", "Mish", "Softplus"),
        NO_ZEROS,
    ),
    **dict.fromkeys(("Tanh", "HardSigmoid", "Celu", "Softsign", "Erf"), NO_ZEROS),
    **dict.fromkeys(("Attention", "Einsum"), PRODUCT),
    **dict.fromkeys(
        ("LRN", "InstanceNormalization", "GroupNormalization", "LayerNormalization"),
        NORM_OF_IMAGE,
    ),
    **dict.fromkeys(
        ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
        "it computes in integers: save the model in float, or quantised in the QDQ format",
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), "what it runs depends on a condition"),
}


def reason(node: NodeProto) -> str:
    """The reason for which a node without a handler is refused."""
    if node.domain not in ("", "ai.onnx"):
        return f"operators of {node.domain} are not known"
    return REASONS.get(node.op_type, NO_COUNTERPART)
