"""Goes through the nodes of an ONNX graph; `quant.frontend.onnx.operators` says what each becomes.

The number of images is fixed first, so every size is known. A node whose inputs are all constant is
computed by onnxruntime, and so is arithmetic with shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    helper,
    numpy_helper,
    shape_inference,
)
from torch import Tensor

from golden.errors import UserError
from quant.frontend.onnx.session import start_session
from quant.frontend.operations import INPUT, Network, OnHost, Operation
from quant.frontend.refusals import CONSTANT_OPERAND, NO_ELEMENTS, WHOLE_IMAGES, refusal

__all__ = ["HANDLERS", "Handler", "NodeImport", "Result", "handles"]

_SMALL = 1024
"""Constants up to so many elements can be axes, pads or a shape: inference is given their values.
"""
_RANDOM = ("Random", "Bernoulli", "Multinomial")

Result = Operation | str | None
"""A handler returns a new operation, the tensor that the node's result is, or nothing where it has
recorded the results itself."""
Handler = Callable[["NodeImport", NodeProto], Result]
HANDLERS: dict[str, Handler] = {}


def handles(*op_types: str) -> Callable[[Handler], Handler]:
    """Register the decorated function for these operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(op_types, handler))
        return handler

    return register


class NodeImport:
    """Goes through the nodes once; `values` has what each ONNX tensor has become.

    Parameters
    ----------
    model : ModelProto
        One graph without functions.
    input_name : str
    whole_shape : tuple of int
        The input's, images included.
    channels_last : bool
        The input is (images, height, width, channels), and the graph transposes it.
    reason : callable
        The reason for which an operator that no handler takes is refused.
    """

    def __init__(
        self,
        model: ModelProto,
        input_name: str,
        whole_shape: tuple[int, ...],
        *,
        channels_last: bool,
        reason: Callable[[NodeProto], str],
    ) -> None:
        self.model = model
        self.reason = reason
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.images, *sizes = whole_shape
        channels, height, width = sizes[-1:] + sizes[:-1] if channels_last else sizes
        self.network = Network((channels, height, width))
        self.values = {input_name: INPUT}
        self.constants = {t.name: _array(t) for t in model.graph.initializer}
        self.types = {name: _type_of(array) for name, array in self.constants.items()}
        self.types[input_name] = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, whole_shape)
        self.untransposed = {input_name} if channels_last else set()
        """Tensors that hold the images before the graph has put their channels first."""
        self.sources: dict[str, str] = {}
        """Operation -> the tensor of the float model that it stands for."""
        self.float_nodes: list[NodeProto] = []
        """The model's nodes without the quantisation of activations."""
        self.quantised = False
        """True where there was any."""

    def run(self) -> Network:
        """Import all nodes."""
        for node in self.model.graph.node:
            before = len(self.float_nodes)
            self._node(node)
            if len(self.float_nodes) == before:
                self.float_nodes.append(node)
        for output in self.model.graph.output:
            if output.name not in self.values:
                raise UserError(
                    f"the network's output {output.name} does not depend on its images; take it out"
                )
            self.network.append_output(self.values[output.name])
        if not self.network.outputs:
            raise UserError("the network returns no tensor")
        self.network.drop_unread()
        return self.network

    def logits(self) -> str:
        """The ONNX tensor that the host computes the first output from: without a softmax, say."""
        name = self.network.outputs[0].tensor
        while name != INPUT and isinstance(self.network.operation(name), OnHost):
            name = self.network.operation(name).inputs[0]
        return self.sources.get(name, next(iter(self.values)))

    def _node(self, node: NodeProto) -> None:
        known = node.domain in ("", "ai.onnx")
        names = [name for name in node.input if name]
        if known and node.op_type in ("Shape", "Size") and names[0] in self.types:
            self._fold_shape(node)
            return
        if known and not node.op_type.startswith(_RANDOM) and self._fold(node, names):
            return
        handler = HANDLERS.get(node.op_type) if known else None
        if handler is None:
            raise self.refusal(node, self.reason(node))
        self._infer(node, names)
        result = handler(self, node)
        if isinstance(result, Operation):
            self.add(result, node.output[0])
        elif result is not None:
            self.values[node.output[0]] = result

    def _fold_shape(self, node: NodeProto) -> None:
        sizes: Any = self.whole_shape(node.input[0])
        if node.op_type == "Size":
            sizes = math.prod(sizes)
        else:
            sizes = sizes[self.attribute(node, "start", 0) : self.attribute(node, "end", None)]
        self._set_constant(node.output[0], np.array(sizes, np.int64))

    def _fold(self, node: NodeProto, names: Sequence[str]) -> bool:
        """Compute a node whose inputs are all constant."""
        if not all(name in self.constants for name in names):
            return False
        if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
            return False
        values = [numpy_helper.from_array(self.constants[n], n) for n in dict.fromkeys(names)]
        written = [name for name in node.output if name]
        outputs = [helper.make_empty_tensor_value_info(name) for name in written]
        graph = helper.make_graph([node], "constant", [], outputs, values)
        opsets = list(self.model.opset_import)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self.model.ir_version)
        try:
            results = start_session(model).run(None, {})
        except Exception as error:  # its exceptions have no common base
            reason = f"its constants cannot be computed: {error}"
            raise self.refusal(node, reason) from None
        for name, array in zip(written, results):
            self._set_constant(name, np.asarray(array))
        return True

    def _set_constant(self, name: str, array: np.ndarray) -> None:
        self.constants[name] = array
        self.types[name] = _type_of(array)

    def _infer(self, node: NodeProto, names: Sequence[str]) -> None:
        """Find the type and shape of what a node writes."""
        missing = [name for name in names if name not in self.types]
        if missing:
            raise self.refusal(node, f"its input {missing[0]} is not available")
        data = {
            name: numpy_helper.from_array(self.constants[name], name)
            for name in names
            if name in self.constants and self.constants[name].size <= _SMALL
        }
        try:
            found = shape_inference.infer_node_outputs(
                onnx.defs.get_schema(node.op_type, self.opset),
                node,
                {name: self.types[name] for name in names},
                data,
                opset_imports=list(self.model.opset_import),
                ir_version=self.model.ir_version,
            )
        except Exception as error:  # those of its C++ part have no common base
            reason = f"the size of its result cannot be found: {error}"
            raise self.refusal(node, reason) from None
        self.types.update(found)

    # --- what handlers use ---

    def refusal(self, node: NodeProto, reason: str) -> UserError:
        """An error that names the node."""
        return refusal(self.where(node), reason)

    def where(self, node: NodeProto) -> str:
        """The node's name, or its output's, and its operator."""
        return f"{node.name or node.output[0]} ({node.op_type})"

    def name(self, node: NodeProto) -> str:
        """A name for the tensor, in characters that a bundle allows.

        PyTorch's exporter names nodes /layer1/layer1.0/conv/Conv: that becomes layer1.0.conv.
        """
        parts: list[str] = []
        for part in (node.name or node.output[0]).split("/"):
            if parts and part.startswith(f"{parts[-1]}."):
                parts.pop()
            parts += [part] if part else []
        if len(parts) > 1 and re.fullmatch(rf"{node.op_type}(_\d+)?", parts[-1]):
            parts.pop()
        name = re.sub(r"[^A-Za-z0-9_.:-]", "_", ".".join(parts)).lstrip(".:-")
        return self.network.new_name(name or node.op_type)

    def common(self, node: NodeProto, *operands: str) -> dict[str, Any]:
        """Return what every operation has."""
        images, *shape = self.whole_shape(node.output[0])
        if images != self.images:
            raise self.refusal(node, WHOLE_IMAGES)
        if 0 in shape:
            raise self.refusal(node, NO_ELEMENTS)
        return {
            "name": self.name(node),
            "inputs": [self.tensor(node, operand) for operand in operands],
            "shape": tuple(shape),
            "where": self.where(node),
        }

    def add(self, operation: Operation, result: str | None = None) -> str:
        """Append an operation, whose tensor is the ONNX tensor `result`; returns its name."""
        self.network.operations.append(operation)
        if result is not None:
            self.values[result] = operation.name
            self.sources[operation.name] = result
        return operation.name

    def whole_shape(self, name: str) -> tuple[int, ...]:
        """The shape of an ONNX tensor, images included."""
        tensor = self.types[name].tensor_type
        dims = tensor.shape.dim
        if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in dims):
            raise UserError(f"{name}: cannot be lowered: its size depends on the images")
        return tuple(d.dim_value for d in dims)

    def is_tensor(self, name: str) -> bool:
        """Return whether an ONNX tensor is computed from the images."""
        return name in self.values

    def tensor(self, node: NodeProto, operand: str) -> str:
        """The name of the tensor that an operand is."""
        if operand in self.untransposed:
            reason = (
                "only a Transpose that puts channels first can read images whose channels are last"
            )
            raise self.refusal(node, reason)
        if operand not in self.values:
            raise self.refusal(node, CONSTANT_OPERAND)
        return self.values[operand]

    def same(self, node: NodeProto) -> str:
        """The first input's tensor, for a node that passes it on."""
        source, result = node.input[0], node.output[0]
        if source in self.untransposed:
            self.untransposed.add(result)
            return self.values[source]
        return self.tensor(node, source)

    def array(self, node: NodeProto, index: int) -> np.ndarray | None:
        """The value of a constant input; None where the node does not have it."""
        name = node.input[index] if index < len(node.input) else ""
        if not name:
            return None
        if name not in self.constants:
            raise self.refusal(node, "its parameters are computed from the images")
        return self.constants[name]

    def weight(self, node: NodeProto, index: int) -> Tensor | None:
        """The value of a constant input, as a float tensor."""
        array = self.array(node, index)
        return None if array is None else torch.from_numpy(array.astype(np.float32))

    def integers(self, node: NodeProto, attribute: str, index: int) -> list[int] | None:
        """Whole numbers that are an attribute in old opsets and input `index` in new ones."""
        value = self.attribute(node, attribute, None)
        if value is None:
            value = self.array(node, index)
        return None if value is None else [int(v) for v in np.asarray(value).reshape(-1)]

    def attribute(self, node: NodeProto, name: str, default: Any) -> Any:
        """The value of an attribute, text as str."""
        for attribute in node.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default


def _type_of(array: np.ndarray) -> TypeProto:
    element = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_type_proto(element, array.shape)


def _array(tensor: TensorProto) -> np.ndarray:
    """The numbers of a constant. Raises UserError where they do not fill its shape."""
    try:
        return numpy_helper.to_array(tensor)
    except (TypeError, ValueError, LookupError) as error:
        raise UserError(f"tensor {tensor.name!r} is damaged: {error}") from None
