"""Lowering of a traceable `nn.Module` to a `Graph`.

torch.fx gives the operations in order. They are lowered as follows:

- BatchNorm is folded into the convolution before it.
- A ReLU or a residual addition is merged into the convolution whose result it uses. A ReLU may also
  be moved through max pooling and concat, which it commutes with.
- Identity vanishes. Dropout is recorded in the layer that reads its result.
- A linear layer becomes a convolution whose kernel covers its whole input.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from golden.arithmetic import ceil_div
from quant.frontend.graph import INPUT, ConcatLayer, ConvLayer, Graph, Layer, PoolLayer, Residual
from quant.frontend.trace import IMAGES, read_once, trace, unsupported
from quant.networks.cifar_resnet import OptionA

__all__ = ["lower"]


def lower(module: nn.Module, shape: tuple[int, int, int]) -> Graph:
    """Return the graph of a module in eval mode for images of `shape`, (channels, height, width).

    Raises UserError that names the path of a module for which the hardware has no layer.
    """
    return _Lowering(trace(module, shape), shape).run()


@dataclass
class _Value:
    """The lowered form of an fx node's result.

    `open` is the convolution that made it, as long as the next operation may be merged into that
    convolution. A ReLU may be merged into all convolutions of `clamps` together. `view` is set if
    the value is a tensor seen through an option A shortcut.
    """

    tensor: str
    open: ConvLayer | None = None
    clamps: tuple[ConvLayer, ...] = ()
    flat: bool = False
    view: Residual | None = None
    dropout: float = 0


class _Lowering:
    """Lowers the traced operations in order; `values` holds the result of each."""

    def __init__(self, traced: fx.GraphModule, shape: tuple[int, int, int]) -> None:
        self.traced = traced
        self.graph = Graph(shapes={INPUT: shape})
        self.values: dict[fx.Node, _Value] = {}
        self.concats: dict[str, fx.Node] = {}

    def run(self) -> Graph:
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = _Value(INPUT)
            elif node.op == "output":
                self.graph.output = self._operand(node).tensor
            elif not node.meta["number"]:  # a size matters only through the shapes it leads to
                self.values[node] = self._lower(node)
        self._check_concats()
        return self.graph

    def _lower(self, node: fx.Node) -> _Value:
        if node.op == "call_module" or node.target in _AS_MODULES:
            module = self._module(node)
            for kind, method in _MODULES.items():
                if isinstance(module, kind):
                    return method(self, node, module)
            raise unsupported(node, f"{type(module).__name__} has no counterpart in hardware")
        function = _FUNCTIONS.get(node.target)
        if function is None:
            raise unsupported(node, f"{node.target} has no counterpart in hardware")
        return function(self, node, None)

    def _module(self, node: fx.Node) -> nn.Module:
        """Return the module that a node calls, or a module that does the same as its function."""
        if node.op == "call_module":
            return self.traced.get_submodule(str(node.target))
        arguments = self._arguments(node)
        del arguments["input"]
        # A stride that was not given is an empty list.
        return _AS_MODULES[node.target](**{k: v for k, v in arguments.items() if v != []})

    def _arguments(self, node: fx.Node) -> dict[str, Any]:
        """Return all arguments of a call of a PyTorch function, by name."""
        arguments = node.normalized_arguments(self.traced, normalize_to_only_use_kwargs=True)
        assert arguments is not None
        return dict(arguments.kwargs)

    def _operand(self, node: fx.Node, index: int = 0) -> _Value:
        operand = node.args[index] if index < len(node.args) else None
        if not isinstance(operand, fx.Node) or operand not in self.values:
            raise unsupported(node, "its operand is no tensor")
        return self.values[operand]

    def _plain(self, node: fx.Node) -> str:
        """Return the name of the operand's tensor, which must not be an option A view."""
        value = self._operand(node)
        if value.view is not None:
            raise unsupported(node, "an option A shortcut can only be added to a convolution")
        return value.tensor

    def _open(self, node: fx.Node, index: int = 0) -> ConvLayer | None:
        """Return the convolution behind the operand, if no other operation reads its result."""
        operand = cast(fx.Node, node.args[index])
        return self.values[operand].open if read_once(operand) else None

    def _clamps(self, operand: fx.Node) -> tuple[ConvLayer, ...]:
        """Return the convolutions that make all of an operand, if no other operation reads it."""
        return self.values[operand].clamps if read_once(operand) else ()

    def _name(self, node: fx.Node) -> str:
        """Return the module's path, with a number from its second use on."""
        path, number = str(node.target) if node.op == "call_module" else node.name, 1
        name = path
        while name in self.graph.shapes:
            number += 1
            name = f"{path}:{number}"
        return name

    def _append(self, layer: Layer, shape: tuple[int, int, int]) -> _Value:
        """Append a layer whose ofm has shape (channels, height, width)."""
        self.graph.layers.append(layer)
        self.graph.shapes[layer.name] = shape
        if isinstance(layer, ConvLayer):
            return _Value(layer.name, layer, (layer,))
        return _Value(layer.name)

    def conv(self, node: fx.Node, module: nn.Conv2d) -> _Value:
        if module.groups != 1 or module.dilation != (1, 1):
            raise unsupported(node, "grouped and dilated convolutions have no hardware")
        if isinstance(module.padding, str) or module.padding_mode != "zeros":
            raise unsupported(node, "padding must be given in numbers and be with zeros")
        layer = ConvLayer(
            name=self._name(node),
            input=self._plain(node),
            weight=module.weight.detach().clone(),
            bias=_bias(module),
            stride=_pair(module.stride),
            padding=_pair(module.padding),
            dropout=self._operand(node).dropout,
        )
        return self._append(layer, node.meta["shape"][1:])

    def linear(self, node: fx.Node, module: nn.Linear) -> _Value:
        tensor = self._plain(node)
        channels, height, width = self.graph.shapes[tensor]
        if not self._operand(node).flat and (height, width) != (1, 1):
            raise unsupported(node, "a linear layer needs a flattened input")
        layer = ConvLayer(
            name=self._name(node),
            input=tensor,
            weight=module.weight.detach().reshape(-1, channels, height, width).clone(),
            bias=_bias(module),
            fully_connected=True,
            dropout=self._operand(node).dropout,
        )
        value = self._append(layer, (module.out_features, 1, 1))
        value.flat = True
        return value

    def batch_norm(self, node: fx.Node, module: nn.BatchNorm2d) -> _Value:
        layer = self._open(node)
        if layer is None or layer.relu or layer.residual is not None:
            raise unsupported(node, "BatchNorm must directly follow a convolution of its own")
        if module.running_mean is None or module.running_var is None:
            raise unsupported(node, "BatchNorm must have running statistics")
        scale = (module.running_var + module.eps).rsqrt()
        offset = torch.zeros_like(scale)
        if module.affine:
            scale, offset = scale * module.weight.detach(), module.bias.detach()
        layer.weight = layer.weight * scale.view(-1, 1, 1, 1)
        layer.bias = (layer.bias - module.running_mean) * scale + offset
        return self._operand(node)

    def relu(self, node: fx.Node, module: nn.Module | None) -> _Value:
        tensor = self._plain(node)
        layers = self._clamps(cast(fx.Node, node.args[0]))
        for layer in layers:
            layer.relu = True
        if not layers and (tensor == INPUT or self.graph.signed(tensor)):
            raise unsupported(node, "ReLU must follow a convolution whose result nobody else uses")
        return self._operand(node)

    def add(self, node: fx.Node, module: None) -> _Value:
        """Merge into the more costly of the possible convolutions, so that its ZAP skips more."""
        if node.kwargs.get("alpha", 1) != 1:
            raise unsupported(node, "its alpha is not 1")
        operands = self._operand(node, 0), self._operand(node, 1)
        candidates = []
        for index, other in enumerate(reversed(operands)):
            layer = self._open(node, index)
            free = layer is not None and not layer.relu and layer.residual is None
            if layer is not None and free and other.tensor != layer.name:
                candidates.append((layer.macs_per_activation, index, layer, other))
        if not candidates:
            raise unsupported(node, "one operand must be a convolution that nothing else uses")
        _, index, layer, other = max(candidates, key=operator.itemgetter(0, 1))
        layer.residual = other.view or Residual(other.tensor)
        step, offset = layer.residual.stride, layer.residual.channel_offset
        c, h, w = self.graph.shapes[layer.residual.input]
        if (ceil_div(h, step), ceil_div(w, step)) != self.graph.shapes[layer.name][1:]:
            raise unsupported(node, "its operands differ in size")
        if other.view is None and c + offset != self.graph.shapes[layer.name][0]:
            raise unsupported(node, "its operands differ in channels")
        # The other operand may be made after this layer, so the layer is moved to the end.
        self.graph.layers.remove(layer)
        self.graph.layers.append(layer)
        return operands[index]

    def option_a(self, node: fx.Node, module: OptionA) -> _Value:
        tensor = self._plain(node)
        return _Value(tensor, view=Residual(tensor, module.stride, module.channel_offset))

    def concat(self, node: fx.Node, module: None) -> _Value:
        arguments = self._arguments(node)
        operands, dimension = cast(list[fx.Node], arguments["tensors"]), arguments["dim"]
        if dimension not in (1, 1 - len(node.meta["shape"])):
            raise unsupported(node, "only channels can be concatenated")
        values = [self.values[operand] for operand in operands]
        names = [value.tensor for value in values]
        if INPUT in names or any(value.view is not None for value in values):
            raise unsupported(node, "only results of convolutions can be concatenated")
        (_, height, width), *others = (self.graph.shapes[name] for name in names)
        if any(shape[1:] != (height, width) for shape in others):
            raise unsupported(node, "its operands differ in height or width")
        layer = ConcatLayer(self._name(node), names)
        self.concats[layer.name] = node
        channels = sum(self.graph.shapes[name][0] for name in names)
        value = self._append(layer, (channels, height, width))
        value.flat = values[0].flat
        clamps = [self._clamps(operand) for operand in operands]
        if all(clamps):
            value.clamps = tuple(layer for part in clamps for layer in part)
        return value

    def _check_concats(self) -> None:
        """Check that each concat's operands are all signed or all unsigned: they share a scale."""
        for name, node in self.concats.items():
            clamped = {layer.relu: layer.name for layer in self.graph.origins(name)}
            if len(clamped) > 1:
                reason = f"{clamped[False]} may be negative and {clamped[True]} may not"
                raise unsupported(node, f"its operands cannot share one scale: {reason}")

    def flatten(self, node: fx.Node, module: nn.Flatten | None) -> _Value:
        """Lower flattening, and reshaping that does the same."""
        tensor = self._plain(node)
        if node.meta["shape"] != (IMAGES, prod(self.graph.shapes[tensor])):
            raise unsupported(node, "only flattening each image into a vector has hardware")
        return replace(self.nothing(node, module), flat=True)

    def dropout(self, node: fx.Node, module: nn.Dropout | None) -> _Value:
        if module is not None:
            share = module.p
        else:
            arguments = self._arguments(node)
            if arguments["training"]:
                raise unsupported(node, "it drops in eval mode too: give it training=self.training")
            share = arguments["p"]
        return replace(self.nothing(node, module), dropout=share)

    def max_pool(self, node: fx.Node, module: nn.MaxPool2d) -> _Value:
        if module.ceil_mode or _pair(module.dilation) != (1, 1) or module.return_indices:
            raise unsupported(node, "ceil_mode, dilation and return_indices have no hardware")
        value = self._pool(node, "max_pool", module.kernel_size, module.stride, module.padding)
        value.clamps = self._clamps(cast(fx.Node, node.args[0]))
        return value

    def avg_pool(self, node: fx.Node, module: nn.AvgPool2d) -> _Value:
        counts_all = module.count_include_pad or _pair(module.padding) == (0, 0)
        if module.ceil_mode or not counts_all or module.divisor_override is not None:
            raise unsupported(node, "ceil_mode, divisor_override or not counting padding")
        return self._pool(node, "average_pool", module.kernel_size, module.stride, module.padding)

    def adaptive_avg_pool(self, node: fx.Node, module: nn.AdaptiveAvgPool2d) -> _Value:
        _, height, width = self.graph.shapes[self._plain(node)]
        out_h, out_w = node.meta["shape"][2:]
        if (height, width) == (out_h, out_w):
            return self.nothing(node, module)
        if height % out_h or width % out_w:
            raise unsupported(node, f"{height}x{width} does not divide into {out_h}x{out_w}")
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
        if layer.input == INPUT:
            raise unsupported(node, "only results of convolutions can be pooled")
        return self._append(layer, node.meta["shape"][1:])

    def nothing(self, node: fx.Node, module: nn.Module | None) -> _Value:
        value = self._operand(node)
        clamps = self._clamps(cast(fx.Node, node.args[0]))
        return replace(value, open=self._open(node), clamps=clamps)


_MODULES: dict[type[nn.Module], Callable[[_Lowering, fx.Node, Any], _Value]] = {
    nn.Conv2d: _Lowering.conv,
    nn.Linear: _Lowering.linear,
    nn.BatchNorm2d: _Lowering.batch_norm,
    nn.ReLU: _Lowering.relu,
    nn.MaxPool2d: _Lowering.max_pool,
    nn.AvgPool2d: _Lowering.avg_pool,
    nn.AdaptiveAvgPool2d: _Lowering.adaptive_avg_pool,
    nn.Flatten: _Lowering.flatten,
    nn.Dropout: _Lowering.dropout,
    nn.Dropout2d: _Lowering.nothing,
    nn.Identity: _Lowering.nothing,
    OptionA: _Lowering.option_a,
}
_AS_MODULES: dict[Any, type[nn.Module]] = {
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
}
"""Function -> the module that does the same; the function takes the module's arguments too."""
_FUNCTIONS: dict[Any, Callable[[_Lowering, fx.Node, Any], _Value]] = {
    operator.add: _Lowering.add,
    operator.iadd: _Lowering.add,
    torch.add: _Lowering.add,
    torch.relu: _Lowering.relu,
    F.relu: _Lowering.relu,
    "relu": _Lowering.relu,
    "relu_": _Lowering.relu,
    torch.flatten: _Lowering.flatten,
    "flatten": _Lowering.flatten,
    torch.reshape: _Lowering.flatten,
    "reshape": _Lowering.flatten,
    "view": _Lowering.flatten,
    torch.cat: _Lowering.concat,
    torch.concat: _Lowering.concat,
    F.dropout: _Lowering.dropout,
}


def _bias(module: nn.Conv2d | nn.Linear) -> Tensor:
    if module.bias is None:
        return module.weight.new_zeros(module.weight.shape[0])
    return module.bias.detach().clone()


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
