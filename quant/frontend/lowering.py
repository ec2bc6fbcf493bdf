"""Lowering: from a module to the `Graph` of layers that the hardware has.

The module is imported (by `quant.frontend.pytorch.export`, or `quant.frontend.onnx.open_file` for
an ONNX file) and simplified (`quant.frontend.passes`).
What is left becomes layers: a convolution takes in the ReLU and the residual add behind it, and a
linear layer is a convolution that covers its whole input. Where an addition or a ReLU follows no
convolution of its own, a 1x1 convolution that copies its input is put there for it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.errors import UserError
from quant.frontend.check import check_equal
from quant.frontend.graph import (
    ConcatLayer,
    ConvLayer,
    Graph,
    Layer,
    PoolLayer,
    ReshapeLayer,
    Residual,
)
from quant.frontend.imported import import_network
from quant.frontend.operations import (
    INPUT,
    Add,
    Clamp,
    Concat,
    Convolution,
    Dropout,
    Flatten,
    Linear,
    Network,
    Operation,
    Pool,
    ShortcutView,
    View,
)
from quant.frontend.passes import simplify

__all__ = ["lower", "lower_checked", "lower_network"]


def lower(module: nn.Module, shape: tuple[int, int, int]) -> Graph:
    """The graph of a module in eval mode for images of `shape`, (channels, height, width).

    Raises UserError naming the path of a module that the hardware has no layer for.
    """
    return lower_network(import_network(module, shape))


def lower_network(network: Network) -> Graph:
    """The graph of an imported network, which is rewritten on the way.

    Raises UserError naming the place of an operation that the hardware has no layer for.
    """
    simplify(network)
    return _Lowering(network).run()


def lower_checked(module: nn.Module, images: Tensor) -> Graph:
    """The graph of a module, compared with it on normalised images (n, channels, height, width).

    Raises UserError as `lower` does, and where the graph computes something else: then it names the
    first layer that differs.
    """
    channels, height, width = images.shape[1:]
    network = import_network(module, (channels, height, width))
    graph = lower_network(network.copy())
    check_equal(module, graph, images, network)
    return graph


_PLANE = 4
"""A core adds a residual from a multiple of its `group` of channels on, which is 4 or more."""


@dataclass
class _Value:
    """The layer, or view of one, that a tensor of the network has become.

    `open` is the convolution that made it, as long as that may still take in what follows. `view`
    is set where the value is a tensor seen through a parameter-free shortcut.
    """

    tensor: str
    open: ConvLayer | None = None
    flat: bool = False
    view: Residual | None = None
    dropout: float = 0


class _Lowering:
    """Walks the operations once; `values` grows by one each."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.graph = Graph(shapes={INPUT: network.input_shape})
        self.values = {INPUT: _Value(INPUT)}
        self.copies: dict[str, str] = {}
        """Tensor -> its copy, for concats of another type; the images' for poolings too."""
        self.unsigned_copies: list[ConvLayer] = []
        """Layers that can take in what follows although they have a ReLU: it changes nothing."""

    def run(self) -> Graph:
        for operation in self.network.operations:
            self.values[operation.name] = self._lower(operation)
        for output in self.network.outputs:
            value = self.values[output.tensor]
            if value.tensor == INPUT:
                returned = "the network has no layer"
                if len(self.network.outputs) > 1:
                    returned = "the network returns its images: return results of layers"
                raise UserError(returned)
            self.graph.outputs.append(replace(output, tensor=value.tensor))
        return self.graph

    def _lower(self, operation: Operation) -> _Value:
        match operation:
            case Convolution():
                return self._convolution(operation)
            case Linear():
                return self._linear(operation)
            case Clamp():
                return self._clamp(operation)
            case Add():
                return self._add(operation)
            case Pool():
                return self._pool(operation)
            case Concat():
                return self._concat(operation)
            case Flatten():
                return self._flatten(operation)
            case Dropout():
                value = self._value(operation)
                return _Value(value.tensor, flat=value.flat, dropout=operation.share)
            case ShortcutView():
                return self._shortcut_view(operation)
            case View():
                return self._view(operation)
        raise refusal(operation, f"{type(operation).__name__} has no counterpart in hardware")

    def _value(self, operation: Operation, index: int = 0) -> _Value:
        return self.values[operation.inputs[index]]

    def _open(self, operation: Operation, index: int = 0) -> ConvLayer | None:
        """The convolution behind an input, if nobody else sees its result as it is now."""
        name = operation.inputs[index]
        return self.values[name].open if self.network.read_once(name) else None

    def _append(self, layer: Layer, operation: Operation, shape: tuple[int, ...]) -> _Value:
        """Add a layer that makes an ofm of `shape`, a map or a vector of channels."""
        channels, height, width = (*shape, 1, 1)[:3]
        layer.name = _acceptable(layer.name)
        layer.name = layer.name if layer.name not in self.graph.shapes else self._fresh(layer.name)
        self.graph.layers.append(layer)
        self.graph.shapes[layer.name] = (channels, height, width)
        self.graph.stands_for[layer.name] = operation.stands_for
        value = _Value(layer.name, flat=len(shape) == 1)
        if isinstance(layer, ConvLayer):
            value.open = layer
        return value

    def _fresh(self, name: str) -> str:
        number = 2
        while f"{name}:{number}" in self.graph.shapes:
            number += 1
        return f"{name}:{number}"

    def _convolution(self, operation: Convolution) -> _Value:
        value = self._value(operation)
        layer = ConvLayer(
            name=operation.name,
            input=value.tensor,
            weight=operation.weight.clone(),
            bias=operation.bias.clone(),
            stride=operation.stride,
            padding=operation.padding,
            dilation=_dilation(operation),
            keeps_scale=operation.keeps_scale and value.tensor != INPUT,
            groups=operation.groups,
            dropout=value.dropout,
        )
        if operation.copies:
            self._mark_copy(layer)
        return self._append(layer, operation, operation.shape)

    def _mark_copy(self, layer: ConvLayer) -> None:
        """Give a layer that copies a tensor a ReLU, if that has one: copies are stored alike."""
        if layer.input != INPUT and not self.graph.signed(layer.input):
            layer.relu = True
            self.unsigned_copies.append(layer)

    def _has_relu(self, layer: ConvLayer) -> bool:
        """Return whether a layer has a ReLU that changes its results."""
        return layer.relu and not any(copy is layer for copy in self.unsigned_copies)

    def _shortcut_view(self, operation: ShortcutView) -> _Value:
        """A view that an addition reads; a convolution where its channels begin within a plane."""
        tensor = self._value(operation).tensor
        if operation.channel_offset % _PLANE == 0:
            view = Residual(tensor, operation.stride, operation.channel_offset)
            return _Value(tensor, view=view)
        channels = self.graph.shapes[tensor][0]
        layer = _identity(operation.name, tensor, channels)
        after = operation.shape[0] - operation.channel_offset - channels
        layer.weight = F.pad(
            torch.eye(channels).view(channels, channels, 1, 1),
            (0, 0, 0, 0, 0, 0, operation.channel_offset, after),
        )
        layer.groups = 1
        layer.bias = torch.zeros(operation.shape[0])
        layer.stride = operation.stride, operation.stride
        self._mark_copy(layer)
        return _Value(self._append(layer, operation, operation.shape).tensor)

    def _linear(self, operation: Linear) -> _Value:
        value = self._value(operation)
        channels, height, width = self.graph.shapes[value.tensor]
        if not value.flat and (height, width) != (1, 1):
            raise refusal(operation, "a linear layer needs a flattened input")
        layer = ConvLayer(
            name=operation.name,
            input=value.tensor,
            weight=operation.weight.reshape(-1, channels, height, width).clone(),
            bias=operation.bias.clone(),
            fully_connected=True,
            dropout=value.dropout,
        )
        return self._append(layer, operation, operation.shape)

    def _clamp(self, operation: Clamp) -> _Value:
        if operation.low != 0:
            raise refusal(operation, f"a limit of {operation.low} has no hardware; a ReLU's is 0")
        layer = self._open(operation)
        if layer is None or self._has_relu(layer):
            value = self._copy(operation, 0)
            layer = value.open
            assert layer is not None
        else:
            value = self._value(operation)
        layer.relu = True
        layer.ceiling = operation.high
        self.graph.stands_for[layer.name] = operation.stands_for
        return _Value(layer.name, flat=value.flat)

    def _add(self, operation: Operation) -> _Value:
        """Fused into the dearer of the operands that can take it in: a ZAP then skips more."""
        candidates = []
        for index in (0, 1):
            layer = self._open(operation, index)
            other = self._value(operation, 1 - index)
            free = layer is not None and not self._has_relu(layer) and layer.residual is None
            if layer is not None and free and other.tensor != layer.name:
                candidates.append((layer.macs_per_activation, -index, layer, other))
        if candidates:
            _, index, layer, other = max(candidates, key=lambda candidate: candidate[:2])
            flat = self._value(operation, -index).flat
        else:
            plain = 0 if self._value(operation).view is None else 1
            value, other = self._copy(operation, plain), self._value(operation, 1 - plain)
            assert value.open is not None
            layer, flat = value.open, value.flat
        layer.residual = other.view or Residual(other.tensor)
        layer.keeps_scale = layer.keeps_scale and other.tensor != INPUT
        if layer.relu and (other.tensor == INPUT or self.graph.signed(other.tensor)):
            layer.relu = False
        # The other operand may have been made later: the sum is complete only here.
        self.graph.layers.remove(layer)
        self.graph.layers.append(layer)
        self.graph.stands_for[layer.name] = operation.stands_for
        return _Value(layer.name, layer, flat=flat)

    def _copy(self, operation: Operation, index: int) -> _Value:
        """A 1x1 convolution that copies an input of `operation`, and takes in what follows."""
        value = self._value(operation, index)
        if value.view is not None:
            raise refusal(operation, "a shortcut without parameters can only be added once")
        channels, height, width = self.graph.shapes[value.tensor]
        if value.flat and (height, width) != (1, 1):
            raise refusal(operation, "a flattened map must go to a linear layer")
        layer = _identity(operation.name, value.tensor, channels)
        self._mark_copy(layer)
        copied = self._append(layer, operation, (channels, height, width))
        copied.flat = value.flat
        return copied

    def _pool(self, operation: Pool) -> _Value:
        layer = PoolLayer(
            op=operation.kind,
            name=operation.name,
            input=self._result(operation, self._value(operation).tensor),
            kernel=operation.kernel,
            stride=operation.stride,
            padding=operation.padding,
        )
        return self._append(layer, operation, operation.shape)

    def _view(self, operation: View) -> _Value:
        tensor = self._result(operation, self._value(operation).tensor)
        _, height, width = operation.shape
        if self.graph.shapes[tensor][1:] == (height, width):
            return _Value(tensor)
        layer = ReshapeLayer(operation.name, tensor, (height, width))
        return self._append(layer, operation, operation.shape)

    def _concat(self, operation: Concat) -> _Value:
        values = [self.values[name] for name in operation.inputs]
        names = [self._result(operation, value.tensor) for value in values]
        if any(value.view is not None for value in values):
            raise refusal(operation, "only results of convolutions can be concatenated")
        (_, height, width), *others = (self.graph.shapes[name] for name in names)
        if any(shape[1:] != (height, width) for shape in others):
            raise refusal(operation, "its operands differ in height or width")
        if values[0].flat and (height, width) != (1, 1):
            raise refusal(operation, "flattened maps cannot be concatenated")
        names = self._of_one_concat(operation, self._of_one_type(operation, names))
        channels = sum(self.graph.shapes[name][0] for name in names)
        value = self._append(
            ConcatLayer(operation.name, names), operation, (channels, height, width)
        )
        value.flat = values[0].flat
        return value

    def _of_one_type(self, operation: Operation, names: list[str]) -> list[str]:
        """The operands of a concat, those copied that could not be stored as the others are.

        A concat puts numbers side by side as they are, so its operands have one scale and are all
        signed or all unsigned; and a ReLU6 needs a range of its own.
        """
        signed = {name: self.graph.signed(name) for name in names}
        ceilings = {name: {o.ceiling for o in self.graph.origins(name)} for name in names}
        mixed_ceilings = len(set.union(*ceilings.values())) > 1
        result = []
        for name in names:
            unsigned_among_signed = any(signed.values()) and not signed[name]
            limited = mixed_ceilings and ceilings[name] != {math.inf}
            if not (unsigned_among_signed or limited):
                result.append(name)
                continue
            if name not in self.copies:
                layer = _identity(f"{name}:copy", name, self.graph.shapes[name][0])
                layer.relu = not any(signed.values())
                self._append(layer, operation, self.graph.shapes[name])
                self.graph.stands_for[layer.name] = self.graph.stands_for[name]
                self.copies[name] = layer.name
            result.append(self.copies[name])
        return result

    def _of_one_concat(self, operation: Operation, names: list[str]) -> list[str]:
        """The operands of a concat, none of which is an operand of another one.

        Operands lie in memory side by side, so a tensor can be part of one concat. Where an earlier
        concat has the first operands, it takes their place, as in a DenseNet; others are copied.
        """
        concats = [layer for layer in self.graph.layers if isinstance(layer, ConcatLayer)]
        parts = {self._original(name) for concat in concats for name in concat.inputs}
        for concat in sorted(concats, key=lambda concat: -len(concat.inputs)):
            count = len(concat.inputs)
            if concat.name not in parts and concat.inputs == names[:count] and count < len(names):
                names = [concat.name, *names[count:]]
                break
        result: list[str] = []
        for name in names:
            if self._original(name) in parts:
                layer = _identity(f"{name}:copy", name, self.graph.shapes[name][0])
                self._mark_copy(layer)
                self._append(layer, operation, self.graph.shapes[name])
                self.graph.stands_for[layer.name] = self.graph.stands_for[name]
                name = layer.name
            parts.add(self._original(name))
            result.append(name)
        return result

    def _original(self, name: str) -> str:
        """The tensor that is written to memory where `name` is: it may have been reshaped."""
        layer = self.graph.layer(name)
        return self._original(layer.input) if isinstance(layer, ReshapeLayer) else name

    def _result(self, operation: Operation, tensor: str) -> str:
        """The tensor, or a copy of the images: poolings and concats read results of layers."""
        if tensor != INPUT:
            return tensor
        if INPUT not in self.copies:
            layer = _identity(f"{INPUT}:copy", INPUT, self.graph.shapes[INPUT][0])
            self._append(layer, operation, self.graph.shapes[INPUT])
            self.graph.stands_for[layer.name] = None
            self.copies[INPUT] = layer.name
        return self.copies[INPUT]

    def _flatten(self, operation: Flatten) -> _Value:
        value = self._value(operation)
        height, width = self.graph.shapes[value.tensor][1:]
        flat = len(operation.shape) == 1
        if not flat and (math.prod(operation.shape[1:]) != 1 or (height, width) != (1, 1)):
            raise refusal(operation, "only flattening each image into a vector has hardware")
        open_layer = self._open(operation)
        return _Value(value.tensor, open_layer, flat=flat, dropout=value.dropout)


def _acceptable(name: str) -> str:
    """The name with an underscore for every character that a bundle's names cannot have."""
    name = re.sub(r"[^A-Za-z0-9_.:-]", "_", name)
    return name if name[:1].isalnum() or name[:1] == "_" else f"_{name}"


def _identity(name: str, tensor: str, channels: int) -> ConvLayer:
    """A 1x1 convolution that copies a tensor."""
    weight, bias = torch.ones(channels, 1, 1, 1), torch.zeros(channels)
    return ConvLayer(name=name, input=tensor, weight=weight, bias=bias, groups=channels)


def refusal(operation: Operation, reason: str) -> UserError:
    """An error that names where an operation comes from."""
    return UserError(f"{operation.where}: cannot be lowered: {reason}")


def _dilation(operation: Convolution) -> tuple[int, int]:
    """The distance of the kernel's taps; 1 along an axis with one tap."""
    vertical, horizontal = (
        step if taps > 1 else 1
        for step, taps in zip(operation.dilation, operation.weight.shape[2:])
    )
    return vertical, horizontal
