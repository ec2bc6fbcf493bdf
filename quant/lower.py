"""Lowering: from any traceable `nn.Module` to a `Graph`.

torch.fx gives the operations in order. BatchNorm is folded into the convolution before it; ReLU and
a residual add are taken in by the convolution whose result they use; Dropout and Identity vanish; a
linear layer becomes a convolution that covers its whole input.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from golden.errors import UserError
from quant.graph import INPUT, ConvLayer, Graph, PoolLayer, Residual
from quant.networks.cifar_resnet import OptionA

__all__ = ["lower"]


def lower(module: nn.Module, shape: tuple[int, int, int]) -> Graph:
    """The graph of a module in eval mode for images of `shape`, (channels, height, width).

    Raises UserError naming the path of a module that the hardware has no layer for.
    """
    tracer = _Tracer()
    try:
        traced = fx.GraphModule(module, tracer.trace(module))
    except fx.proxy.TraceError as error:
        raise UserError(f"{type(module).__name__} cannot be traced by torch.fx: {error}") from None
    shapes = _Shapes(traced)
    shapes.extra_traceback = False
    try:
        with torch.no_grad():
            shapes.run(torch.zeros(1, *shape))
    except RuntimeError as error:
        reason = f"does not take images of {shape}: {str(error).splitlines()[0]}"
        raise UserError(f"{type(module).__name__} {reason}") from None
    return _Lowering(traced, shape).run()


class _Tracer(fx.Tracer):
    """Looks into every module but PyTorch's own and the option A shortcut."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OptionA) or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs the network once and notes the shape of every result."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        return result


@dataclass
class _Value:
    """What an fx node has become.

    `open` is the convolution that made it, as long as that may still take in what follows; `view`
    is set where the value is a tensor seen through an option A shortcut.
    """

    tensor: str
    open: ConvLayer | None = None
    flat: bool = False
    view: Residual | None = None


class _Lowering:
    """Walks the traced operations once; `values` grows by one each."""

    def __init__(self, traced: fx.GraphModule, shape: tuple[int, int, int]) -> None:
        self.traced = traced
        self.graph = Graph(shapes={INPUT: shape})
        self.values: dict[fx.Node, _Value] = {}

    def run(self) -> Graph:
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = _Value(INPUT)
            elif node.op == "output":
                self.graph.output = self._operand(node).tensor
            else:
                self.values[node] = self._lower(node)
        return self.graph

    def _lower(self, node: fx.Node) -> _Value:
        if node.op == "call_module":
            module = self.traced.get_submodule(str(node.target))
            for kind, method in _MODULES.items():
                if isinstance(module, kind):
                    return method(self, node, module)
            raise _unsupported(node, f"{type(module).__name__} has no counterpart in hardware")
        function = _FUNCTIONS.get(node.target)
        if function is None:
            raise _unsupported(node, f"{node.target} has no counterpart in hardware")
        return function(self, node, None)

    def _operand(self, node: fx.Node, index: int = 0) -> _Value:
        operand = node.args[index] if index < len(node.args) else None
        if not isinstance(operand, fx.Node):
            raise _unsupported(node, "its operand is no tensor")
        return self.values[operand]

    def _plain(self, node: fx.Node) -> str:
        """The name of the operand's tensor, which must have been written as it is."""
        value = self._operand(node)
        if value.view is not None:
            raise _unsupported(node, "an option A shortcut can only be added to a convolution")
        return value.tensor

    def _open(self, node: fx.Node, index: int = 0) -> ConvLayer | None:
        """The convolution behind the operand, if nobody else sees its result as it is now."""
        operand = cast(fx.Node, node.args[index])
        return self.values[operand].open if len(operand.users) == 1 else None

    def _name(self, node: fx.Node) -> str:
        """The module's path, numbered from its second use on."""
        path, number = str(node.target) if node.op == "call_module" else node.name, 1
        name = path
        while name in self.graph.shapes:
            number += 1
            name = f"{path}:{number}"
        return name

    def _append(self, layer: ConvLayer | PoolLayer, shape: tuple[int, ...]) -> _Value:
        """Add a layer that makes an ofm of shape (1, channels, height, width)."""
        channels, height, width = shape[1:]
        self.graph.layers.append(layer)
        self.graph.shapes[layer.name] = (channels, height, width)
        return _Value(layer.name, open=layer if isinstance(layer, ConvLayer) else None)

    def conv(self, node: fx.Node, module: nn.Conv2d) -> _Value:
        if module.groups != 1 or module.dilation != (1, 1):
            raise _unsupported(node, "grouped and dilated convolutions have no hardware")
        if isinstance(module.padding, str) or module.padding_mode != "zeros":
            raise _unsupported(node, "padding must be given in numbers and be with zeros")
        layer = ConvLayer(
            name=self._name(node),
            input=self._plain(node),
            weight=module.weight.detach().clone(),
            bias=_bias(module),
            stride=_pair(module.stride),
            padding=_pair(module.padding),
        )
        return self._append(layer, node.meta["shape"])

    def linear(self, node: fx.Node, module: nn.Linear) -> _Value:
        tensor = self._plain(node)
        channels, height, width = self.graph.shapes[tensor]
        if not self._operand(node).flat and (height, width) != (1, 1):
            raise _unsupported(node, "a linear layer needs a flattened input")
        layer = ConvLayer(
            name=self._name(node),
            input=tensor,
            weight=module.weight.detach().reshape(-1, channels, height, width).clone(),
            bias=_bias(module),
            fully_connected=True,
        )
        value = self._append(layer, (1, module.out_features, 1, 1))
        value.flat = True
        return value

    def batch_norm(self, node: fx.Node, module: nn.BatchNorm2d) -> _Value:
        layer = self._open(node)
        if layer is None or layer.relu or layer.residual is not None:
            raise _unsupported(node, "BatchNorm must directly follow a convolution of its own")
        if module.running_mean is None or module.running_var is None:
            raise _unsupported(node, "BatchNorm must have running statistics")
        scale = (module.running_var + module.eps).rsqrt()
        offset = torch.zeros_like(scale)
        if module.affine:
            scale, offset = scale * module.weight.detach(), module.bias.detach()
        layer.weight = layer.weight * scale.view(-1, 1, 1, 1)
        layer.bias = (layer.bias - module.running_mean) * scale + offset
        return self._operand(node)

    def relu(self, node: fx.Node, module: nn.Module | None) -> _Value:
        tensor = self._plain(node)
        layer = self._open(node)
        if layer is not None:
            layer.relu = True
        elif tensor == INPUT or self.graph.signed(tensor):
            raise _unsupported(node, "ReLU must follow a convolution whose result nobody else uses")
        return self._operand(node)

    def add(self, node: fx.Node, module: None) -> _Value:
        """Fused into the dearer of the operands that can take it in: a ZAP then skips more."""
        operands = self._operand(node, 0), self._operand(node, 1)
        candidates = []
        for index, other in enumerate(reversed(operands)):
            layer = self._open(node, index)
            free = layer is not None and not layer.relu and layer.residual is None
            if layer is not None and free and other.tensor != layer.name:
                candidates.append((layer.macs_per_activation, index, layer, other))
        if not candidates:
            raise _unsupported(node, "one operand must be a convolution that nothing else uses")
        _, index, layer, other = max(candidates, key=operator.itemgetter(0, 1))
        layer.residual = other.view or Residual(other.tensor)
        step, offset = layer.residual.stride, layer.residual.channel_offset
        c, h, w = self.graph.shapes[layer.residual.input]
        if (-(-h // step), -(-w // step)) != self.graph.shapes[layer.name][1:]:
            raise _unsupported(node, "its operands differ in size")
        if other.view is None and c + offset != self.graph.shapes[layer.name][0]:
            raise _unsupported(node, "its operands differ in channels")
        # The other operand may have been made later: the sum is complete only here.
        self.graph.layers.remove(layer)
        self.graph.layers.append(layer)
        return operands[index]

    def option_a(self, node: fx.Node, module: OptionA) -> _Value:
        tensor = self._plain(node)
        return _Value(tensor, view=Residual(tensor, module.stride, module.channel_offset))

    def flatten(self, node: fx.Node, module: nn.Flatten | None) -> _Value:
        if module is None:
            start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
        else:
            start = module.start_dim
        if start != 1 or len(node.meta["shape"]) != 2:
            raise _unsupported(node, "only flattening from dimension 1 on has hardware")
        return _Value(self._plain(node), open=self._open(node), flat=True)

    def max_pool(self, node: fx.Node, module: nn.MaxPool2d) -> _Value:
        if module.ceil_mode or _pair(module.dilation) != (1, 1):
            raise _unsupported(node, "ceil_mode and dilation have no hardware")
        return self._pool(node, "max_pool", module.kernel_size, module.stride, module.padding)

    def avg_pool(self, node: fx.Node, module: nn.AvgPool2d) -> _Value:
        counts_all = module.count_include_pad or _pair(module.padding) == (0, 0)
        if module.ceil_mode or not counts_all or module.divisor_override is not None:
            raise _unsupported(node, "ceil_mode, divisor_override or not counting padding")
        return self._pool(node, "average_pool", module.kernel_size, module.stride, module.padding)

    def adaptive_avg_pool(self, node: fx.Node, module: nn.AdaptiveAvgPool2d) -> _Value:
        _, height, width = self.graph.shapes[self._plain(node)]
        out_h, out_w = node.meta["shape"][2:]
        if height % out_h or width % out_w:
            raise _unsupported(node, f"{height}x{width} does not divide into {out_h}x{out_w}")
        window = (height // out_h, width // out_w)
        return self._pool(node, "average_pool", window, window, (0, 0))

    def _pool(
        self,
        node: fx.Node,
        op: Literal["max_pool", "average_pool"],
        kernel: Any,
        stride: Any,
        padding: Any,
    ) -> _Value:
        layer = PoolLayer(
            op=op,
            name=self._name(node),
            input=self._plain(node),
            kernel=_pair(kernel),
            stride=_pair(stride),
            padding=_pair(padding),
        )
        return self._append(layer, node.meta["shape"])

    def nothing(self, node: fx.Node, module: nn.Module) -> _Value:
        operand = self._operand(node)
        return _Value(operand.tensor, self._open(node), operand.flat, operand.view)


_MODULES: dict[type[nn.Module], Callable[[_Lowering, fx.Node, Any], _Value]] = {
    nn.Conv2d: _Lowering.conv,
    nn.Linear: _Lowering.linear,
    nn.BatchNorm2d: _Lowering.batch_norm,
    nn.ReLU: _Lowering.relu,
    nn.MaxPool2d: _Lowering.max_pool,
    nn.AvgPool2d: _Lowering.avg_pool,
    nn.AdaptiveAvgPool2d: _Lowering.adaptive_avg_pool,
    nn.Flatten: _Lowering.flatten,
    nn.Dropout: _Lowering.nothing,
    nn.Identity: _Lowering.nothing,
    OptionA: _Lowering.option_a,
}
_FUNCTIONS: dict[Any, Callable[[_Lowering, fx.Node, Any], _Value]] = {
    operator.add: _Lowering.add,
    operator.iadd: _Lowering.add,
    torch.add: _Lowering.add,
    torch.relu: _Lowering.relu,
    F.relu: _Lowering.relu,
    "relu": _Lowering.relu,
    torch.flatten: _Lowering.flatten,
    "flatten": _Lowering.flatten,
}


def _unsupported(node: fx.Node, reason: str) -> UserError:
    """An error that names the module by its path, or the function by the module that calls it."""
    path = str(node.target)
    if node.op != "call_module":
        stack = list(node.meta.get("nn_module_stack", {}).values())
        path = f"{stack[-1][0] or 'the network'}: {node.name}" if stack else node.name
    return UserError(f"{path}: cannot be lowered: {reason}")


def _bias(module: nn.Conv2d | nn.Linear) -> Tensor:
    if module.bias is None:
        return torch.zeros(module.weight.shape[0])
    return module.bias.detach().clone()


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
