"""Goes through the nodes that `torch.export` recorded; handlers say what each becomes.

`quant.frontend.pytorch.operators`, `pools` and `shapes` register the handlers.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from golden.errors import UserError
from quant.frontend.operations import INPUT, Network, Operation
from quant.frontend.refusals import (
    CONSTANT_OPERAND,
    NO_COUNTERPART,
    NO_ELEMENTS,
    NO_ZEROS,
    NORM_OF_IMAGE,
    PRODUCT,
    UPSAMPLING,
    WHOLE_IMAGES,
    refusal,
)

__all__ = ["HANDLERS", "IMAGES", "REASONS", "NodeImport", "Result", "handles", "reason"]

IMAGES = 2
"""The number of images that the module is exported with: more than one, so that an image is told
from a vector."""
aten = torch.ops.aten


class NodeImport:
    """Goes through the exported nodes once; `values` has what each node has become."""

    def __init__(self, program: ExportedProgram, shape: tuple[int, int, int]) -> None:
        self.dropouts = {
            node.name: node.args
            for node in program.graph.nodes
            if node.op == "call_function" and node.target == aten.dropout.default
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.program = program.run_decompositions({})
        self.network = Network(shape)
        self.values: dict[fx.Node, str] = {}
        self.constants: dict[fx.Node, Any] = {}
        self.parts: dict[fx.Node, list[str]] = {}
        """The tensors that a node which writes several has become."""

    def run(self) -> Network:
        """Import all nodes."""
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        self._refuse_attention({n for n, s in specs.items() if s.kind == InputKind.USER_INPUT})
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node, specs[node.name])
            elif node.op == "output":
                self._output(node)
            elif node.target not in _IGNORED:
                self._call(node)
        self.network.drop_unread()
        return self.network

    def _refuse_attention(self, images: set[str]) -> None:
        """Raise UserError for a product of maps, whatever else is refused before it.

        Attention transposes and reshapes its operands first; that would be the reason otherwise.
        """
        computed: set[fx.Node] = set()
        for node in self.program.graph.nodes:
            operands = computed.intersection(node.all_input_nodes)
            if operands or node.name in images:
                computed.add(node)
            if len(operands) > 1 and _function(node) in _PRODUCTS:
                raise self.refusal(node, reason(node))

    def _placeholder(self, node: fx.Node, spec: Any) -> None:
        if spec.kind == InputKind.USER_INPUT:
            self.values[node] = INPUT
        elif spec.kind == InputKind.CONSTANT_TENSOR or spec.target in self.program.constants:
            self.constants[node] = self.program.constants[spec.target].detach()
        else:
            self.constants[node] = self.program.state_dict[spec.target].detach()

    def _output(self, node: fx.Node) -> None:
        """Take what the module returns: a tensor, or several in tuples, lists and dicts."""
        specs = self.program.graph_signature.output_specs
        for result, spec in zip(node.args[0], specs, strict=True):  # type: ignore[arg-type]
            if spec.kind != OutputKind.USER_OUTPUT or result is None:
                continue
            if not isinstance(result, fx.Node) or result not in self.values:
                raise UserError(
                    "the network's output does not depend on its images; return tensors that do"
                )
            self.network.append_output(self.values[result])
        if not self.network.outputs:
            raise UserError("the network returns no tensor")

    def _call(self, node: fx.Node) -> None:
        if all(operand in self.constants for operand in node.all_input_nodes):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.constants.__getitem__)
            self.constants[node] = node.target(*args, **kwargs)  # type: ignore[operator]
            return
        if node.target is operator.getitem:
            source, index = node.args
            parts = self.parts.get(source) if isinstance(source, fx.Node) else None
            if parts is not None:
                self.values[node] = parts[index]  # type: ignore[index]
                return
            if index == 0 and source in self.values:
                self.values[node] = self.values[source]  # type: ignore[index]
                return
        handler = HANDLERS.get(node.target)
        if handler is None:
            raise self.refusal(node, reason(node))
        operation = handler(self, node)
        if isinstance(operation, Operation):
            self.network.operations.append(operation)
            self.values[node] = operation.name
        else:
            self.values[node] = operation

    # --- what handlers use ---

    def refusal(self, node: fx.Node, reason: str) -> UserError:
        """An error that names the module, or the function and the module that calls it."""
        return refusal(self.where(node), reason)

    def where(self, node: fx.Node) -> str:
        """The path of the module that does what `node` does, or the node and its module."""
        path, kind = self._stack(node)
        if kind.startswith("torch.nn."):
            return path
        return f"{path or 'the network'}: {self.origin(node)}"

    def name(self, node: fx.Node) -> str:
        """A name for the tensor: the module's path, numbered from its second use on."""
        path, kind = self._stack(node)
        path = path if path and kind.startswith("torch.nn.") else self.origin(node)
        return self.network.new_name(path)

    def common(self, node: fx.Node, *operands: Any) -> dict[str, Any]:
        """Return what every operation has."""
        return {
            "name": self.name(node),
            "inputs": [self.tensor(node, operand) for operand in operands],
            "shape": self.shape(node),
            "where": self.where(node),
        }

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of a node's result, without the images."""
        images, *shape = self.whole_shape(node)
        if images != IMAGES:
            raise self.refusal(node, WHOLE_IMAGES)
        if 0 in shape:
            raise self.refusal(node, NO_ELEMENTS)
        return tuple(shape)

    def whole_shape(self, node: Any) -> tuple[int, ...]:
        """The shape of a node's result, images included."""
        value = node.meta["val"]
        return tuple((value[0] if isinstance(value, tuple | list) else value).shape)

    def tensor(self, node: fx.Node, operand: Any) -> str:
        """The name of the tensor that an operand is."""
        if not isinstance(operand, fx.Node) or operand not in self.values:
            raise self.refusal(node, CONSTANT_OPERAND)
        return self.values[operand]

    def constant(self, node: fx.Node, operand: Any) -> Any:
        """The value of a constant operand."""
        if not isinstance(operand, fx.Node):
            return operand
        if operand not in self.constants:
            raise self.refusal(node, "its parameters are computed from the images")
        return self.constants[operand]

    def arguments(self, node: fx.Node) -> dict[str, Any]:
        """All arguments of a call by name, defaults included."""
        schema = node.target._schema  # type: ignore[union-attr]
        names = [argument.name for argument in schema.arguments]
        given = {**dict(zip(names, node.args)), **node.kwargs}
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        return {**defaults, **given}

    def origin(self, node: fx.Node) -> str:
        """The name of the node that this one was before in-place operations were replaced."""
        source = node.meta.get("from_node")
        return source[-1].name if source else node.name

    def _stack(self, node: fx.Node) -> tuple[str, str]:
        """(path, class) of the innermost module that was at work."""
        stack = list(node.meta.get("nn_module_stack", {}).values())
        if not stack:
            return "", ""
        path, kind = stack[-1]
        return path, kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


Result = Operation | str
Handler = Callable[[NodeImport, fx.Node], Result]
HANDLERS: dict[Any, Handler] = {}
_IGNORED = {aten._assert_tensor_metadata.default, aten.sym_size.int}


def handles(*targets: Any) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(targets, handler))
        return handler

    return register


_PRODUCTS = ("matmul", "bmm", "scaled_dot_product_attention", "mm")
REASONS = {
    **dict.fromkeys(
        ("bernoulli", "dropout", "native_dropout"),
        "it drops in eval mode too: give it training=self.training",
    ),
    **dict.fromkeys(
        ("gelu", "silu", "leaky_relu", "prelu", "_prelu_kernel", "hardswish", "elu", "selu"),
        NO_ZEROS,
    ),
    **dict.fromkeys(("mish", "softplus", "tanh", "hardsigmoid", "celu"), NO_ZEROS),
    **dict.fromkeys(("rrelu", "log_sigmoid", "glu"), NO_ZEROS),
    **dict.fromkeys(("instance_norm", "group_norm", "layer_norm", "rms_norm"), NORM_OF_IMAGE),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d", "grid_sampler"), UPSAMPLING),
    **dict.fromkeys(_PRODUCTS, PRODUCT),
}


def _function(node: fx.Node) -> str:
    """The name of the ATen function that a node calls."""
    schema = getattr(node.target, "_schema", None)
    return str(schema and schema.name).removeprefix("aten::")


def reason(node: fx.Node) -> str:
    function = _function(node)
    return f"{function}: {REASONS.get(function, NO_COUNTERPART)}"
