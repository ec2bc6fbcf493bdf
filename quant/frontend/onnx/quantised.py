"""The float graph behind a QDQ model: quantisation of activations is left out.

Weights that are stored quantised are constants and computed like every other. Tools that quantise a
model leave out a ReLU where the range of its quantised result begins at 0, since rounding limits
the result too; such a range is therefore imported as a ReLU, or as a ReLU6 where it ends at 6.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto, TensorProto, helper

from quant.frontend.onnx.nodes import NodeImport, Result, handles
from quant.frontend.operations import (
    INPUT,
    Add,
    Affine,
    Clamp,
    Convolution,
    Linear,
    Network,
    OnHost,
    TransposedConvolution,
)

__all__: list[str] = []

_RELU6 = 6.0
_LIMITS: dict[int, tuple[int, int]] = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
}


@handles("QuantizeLinear")
def _quantise(at: NodeImport, node: NodeProto) -> Result:
    source, result = node.input[0], node.output[0]
    low, high = _range(at, node)
    at.quantised = True
    if low != 0 or not _may_lack_relu(at.network, at.values.get(source, INPUT)):
        at.float_nodes.append(helper.make_node("Identity", [source], [result]))
        return at.same(node)
    limit = _RELU6 if math.isclose(high, _RELU6, rel_tol=1e-5) else math.inf
    at.float_nodes += _clip_nodes(at, source, result, limit)
    return Clamp(**at.common(node, source), low=0, high=limit)


@handles("DequantizeLinear")
def _dequantise(at: NodeImport, node: NodeProto) -> Result:
    at.float_nodes.append(helper.make_node("Identity", [node.input[0]], [node.output[0]]))
    return at.same(node)


def _may_lack_relu(network: Network, name: str) -> bool:
    """Return whether a layer's result reaches tensor `name` without a ReLU."""
    if name == INPUT:
        return False
    operation = network.operation(name)
    if isinstance(operation, Convolution | TransposedConvolution | Linear | Affine | Add):
        return True
    if isinstance(operation, Clamp):
        return operation.low < 0
    if isinstance(operation, OnHost):
        return False
    return any(_may_lack_relu(network, tensor) for tensor in operation.inputs)


def _range(at: NodeImport, node: NodeProto) -> tuple[float, float]:
    """The smallest and the largest number that the quantised tensor can hold."""
    scale, zero = at.array(node, 1), at.array(node, 2)
    element = at.types[node.output[0]].tensor_type.elem_type
    limits = _LIMITS.get(element)
    if limits is None or scale is None:
        raise at.refusal(node, "only quantisation to integers of 8 or 16 bits is known")
    offset = np.zeros(1) if zero is None else zero.astype(np.float64)
    low, high = ((limit - offset) * scale.astype(np.float64) for limit in limits)
    return float(low.min()), float(high.max())


def _clip_nodes(at: NodeImport, source: str, result: str, limit: float) -> list[NodeProto]:
    """A ReLU, or a Clip to `limit`, in the model's opset."""
    if limit == math.inf:
        return [helper.make_node("Relu", [source], [result])]
    if at.opset < 11:
        return [helper.make_node("Clip", [source], [result], min=0.0, max=limit)]
    names = [f"{result}:low", f"{result}:high"]
    constants = [
        helper.make_node(
            "Constant", [], [name], value=helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        )
        for name, value in zip(names, (0.0, limit))
    ]
    return [*constants, helper.make_node("Clip", [source, *names], [result])]
