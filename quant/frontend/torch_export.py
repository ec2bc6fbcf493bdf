"""From a PyTorch module to a `Network`, by `torch.export`.

`torch.export` runs the module's own Python once on tensors without contents, so what it records is
what the module computes for one image after another: hooks, pruning, in-place operations, default
arguments and modules made on the way are all in it. `run_decompositions` then replaces in-place
operations, so that every operation writes a tensor of its own. An operation whose operands are all
constants is computed here.
"""

from __future__ import annotations

import logging
import math
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from golden.errors import UserError
from quant.frontend.operations import (
    INPUT,
    Add,
    Affine,
    Clamp,
    Concat,
    Convolution,
    Dropout,
    Linear,
    Network,
    OnHost,
    Operation,
    Pad,
    Pool,
    Shuffle,
    Slice,
    pair,
    per_channel,
)
from quant.frontend.refusals import (
    CEIL_AVERAGE,
    CONSTANT_NUMERATOR,
    CONSTANT_OPERAND,
    DILATED_POOL,
    DIVISOR,
    NO_COUNTERPART,
    NO_ZEROS,
    NOT_FLATTENED,
    OTHER_SIZE,
    PADS_WITH_NUMBERS,
    PRODUCT,
    TRANSPOSE,
    TWO_AXES_MEAN,
    UNCOUNTED_PADDING,
    WHOLE_IMAGES,
    refusal,
)
from quant.frontend.reshapes import transposed, under_shape

__all__ = ["import_module"]

_IMAGES = 2
"""The number of images that the module is exported with: more than one, so that an image is told
from a vector."""
_aten = torch.ops.aten


def import_module(module: nn.Module, shape: tuple[int, int, int]) -> Network:
    """The operations of a module in eval mode on images of `shape`, (channels, height, width).

    Raises UserError that names the place and the reason where an operation has no counterpart.
    """
    program = _exported(module, shape)
    return _Import(module, program, shape).run()


def _exported(module: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
    name = type(module).__name__
    images = torch.zeros(_IMAGES, *shape, dtype=_dtype(module))
    device = next(module.parameters(), images).device
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # the error that it raises says the same
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, (images.to(device),))
    except Exception as error:  # the module's own code may raise anything
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise UserError(
            f"{name} cannot be exported for images of {shape}: {reason}; torch.export must be able"
            " to follow its forward"
        ) from None
    finally:
        logging.disable(level)


def _dtype(module: nn.Module) -> torch.dtype:
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(floats, torch.float32)


class _Import:
    """Goes through the exported nodes once; `values` has what each node has become."""

    def __init__(
        self, module: nn.Module, program: ExportedProgram, shape: tuple[int, int, int]
    ) -> None:
        self.dropouts = {
            node.name: node.args
            for node in program.graph.nodes
            if node.op == "call_function" and node.target == _aten.dropout.default
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.program = program.run_decompositions({})
        self.module = module
        self.network = Network(shape)
        self.values: dict[fx.Node, str] = {}
        self.constants: dict[fx.Node, Any] = {}
        self.parts: dict[fx.Node, list[str]] = {}
        """The tensors that a node which writes several has become."""

    def run(self) -> Network:
        """Import all nodes."""
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node, specs[node.name])
            elif node.op == "output":
                self._output(node)
            elif node.target not in _IGNORED:
                self._call(node)
        self.network.drop_unread()
        return self.network

    def _placeholder(self, node: fx.Node, spec: Any) -> None:
        if spec.kind == InputKind.USER_INPUT:
            self.values[node] = INPUT
        elif spec.kind == InputKind.CONSTANT_TENSOR or spec.target in self.program.constants:
            self.constants[node] = self.program.constants[spec.target].detach()
        else:
            self.constants[node] = self.program.state_dict[spec.target].detach()

    def _output(self, node: fx.Node) -> None:
        results = [result for result in node.args[0] if result is not None]  # type: ignore[union-attr]
        if len(results) != 1:
            raise UserError(
                f"the network returns {len(results)} tensors; wrap it in a module that returns one"
            )
        (result,) = results
        if not isinstance(result, fx.Node) or result not in self.values:
            raise UserError("the network's output does not depend on its images")
        self.network.output = self.values[result]

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
        handler = _HANDLERS.get(node.target)
        if handler is None:
            raise self.refusal(node, _reason(node))
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
        return f"{path or 'the network'}: {self._function(node)}"

    def name(self, node: fx.Node) -> str:
        """A name for the tensor: the module's path, numbered from its second use on."""
        path, kind = self._stack(node)
        path = path if path and kind.startswith("torch.nn.") else self._function(node)
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
        if images != _IMAGES:
            raise self.refusal(node, WHOLE_IMAGES)
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

    def _function(self, node: fx.Node) -> str:
        return self.origin(node)

    def _stack(self, node: fx.Node) -> tuple[str, str]:
        """(path, class) of the innermost module that was at work."""
        stack = list(node.meta.get("nn_module_stack", {}).values())
        if not stack:
            return "", ""
        path, kind = stack[-1]
        return path, kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


_Result = Operation | str
_Handler = Callable[[_Import, fx.Node], _Result]
_HANDLERS: dict[Any, _Handler] = {}
_IGNORED = {_aten._assert_tensor_metadata.default, _aten.sym_size.int}


def _handles(*targets: Any) -> Callable[[_Handler], _Handler]:
    def register(handler: _Handler) -> _Handler:
        _HANDLERS.update(dict.fromkeys(targets, handler))
        return handler

    return register


@_handles(_aten.conv2d.default, _aten.conv2d.padding)
def _conv(at: _Import, node: fx.Node) -> _Result:
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


@_handles(_aten.linear.default)
def _linear(at: _Import, node: fx.Node) -> _Result:
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


@_handles(_aten._native_batch_norm_legit_no_training.default)
def _batch_norm(at: _Import, node: fx.Node) -> _Result:
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


@_handles(_aten.relu.default, _aten.relu6.default, _aten.hardtanh.default, _aten.clamp.default)
def _clamp(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    if node.target == _aten.relu.default:
        low, high = 0.0, math.inf
    elif node.target == _aten.relu6.default:
        low, high = 0.0, 6.0
    elif node.target == _aten.hardtanh.default:
        low, high = float(arguments["min_val"]), float(arguments["max_val"])
    else:
        low = -math.inf if arguments["min"] is None else float(arguments["min"])
        high = math.inf if arguments["max"] is None else float(arguments["max"])
    return Clamp(**at.common(node, node.args[0]), low=low, high=high)


@_handles(_aten.clamp_min.default)
def _clamp_min(at: _Import, node: fx.Node) -> _Result:
    return Clamp(**at.common(node, node.args[0]), low=float(at.constant(node, node.args[1])))


@_handles(_aten.add.Tensor, _aten.sub.Tensor, _aten.add.Scalar, _aten.sub.Scalar)
def _add(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    alpha = float(arguments.get("alpha", 1))
    sign = -alpha if node.target in (_aten.sub.Tensor, _aten.sub.Scalar) else alpha
    left, right = node.args[0], node.args[1]
    if left in at.values and right in at.values:
        if sign != 1:
            raise at.refusal(node, "only a plain sum of two tensors has hardware: alpha must be 1")
        if at.whole_shape(left) != at.whole_shape(right):
            raise at.refusal(node, OTHER_SIZE)
        return Add(**at.common(node, left, right))
    if left in at.values:
        return _affine(at, node, left, 1, _scaled(at.constant(node, right), sign))
    return _affine(at, node, right, sign, at.constant(node, left))


@_handles(_aten.rsub.Scalar)
def _reversed_sub(at: _Import, node: fx.Node) -> _Result:
    return _affine(at, node, node.args[0], -1, at.constant(node, node.args[1]))


@_handles(_aten.mul.Tensor, _aten.mul.Scalar, _aten.div.Tensor, _aten.div.Scalar)
def _mul(at: _Import, node: fx.Node) -> _Result:
    left, right = node.args[0], node.args[1]
    if left in at.values and right in at.values:
        raise at.refusal(node, PRODUCT if node.target == _aten.mul.Tensor else DIVISOR)
    divides = node.target in (_aten.div.Tensor, _aten.div.Scalar)
    if left not in at.values:
        if divides:
            raise at.refusal(node, CONSTANT_NUMERATOR)
        left, right = right, left
    factor = at.constant(node, right)
    return _affine(at, node, left, 1 / factor if divides else factor, 0)


@_handles(_aten.neg.default)
def _neg(at: _Import, node: fx.Node) -> _Result:
    return _affine(at, node, node.args[0], -1, 0)


def _affine(at: _Import, node: fx.Node, operand: Any, gain: Any, offset: Any) -> Affine:
    """Arithmetic with constants, each a number or a tensor that is constant over each channel."""
    common = at.common(node, operand)
    try:
        gain, offset = (per_channel(value, common["shape"]) for value in (gain, offset))
    except ValueError as error:
        raise at.refusal(node, str(error)) from None
    return Affine(**common, gain=gain, offset=offset)


def _scaled(value: Any, factor: float) -> Any:
    return value if factor == 1 else value * factor


@_handles(_aten.max_pool2d.default)
def _max_pool(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    if pair(arguments["dilation"]) != (1, 1):
        raise at.refusal(node, DILATED_POOL)
    return _pool(at, node, "max_pool", arguments)


@_handles(_aten.avg_pool2d.default)
def _average_pool(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    pads = any(pair(arguments["padding"]))
    if arguments["divisor_override"] is not None:
        raise at.refusal(node, "divisor_override has no hardware")
    if pads and not arguments["count_include_pad"]:
        raise at.refusal(node, UNCOUNTED_PADDING)
    return _pool(at, node, "average_pool", arguments)


def _pool(at: _Import, node: fx.Node, kind: Any, arguments: dict[str, Any]) -> Pool:
    kernel = pair(arguments["kernel_size"])
    stride = pair(arguments["stride"]) if arguments["stride"] else kernel
    padding = pair(arguments["padding"])
    common = at.common(node, node.args[0])
    sizes = at.whole_shape(node.args[0])[2:]
    sides: list[int] = []
    for size, k, s, p, out in zip(sizes, kernel, stride, padding, common["shape"][1:]):
        # The last window may begin inside the map and end beyond it (ceil_mode).
        sides += [p, max((out - 1) * s + k - size - p, p)]
        if sides[-1] > p and kind == "average_pool":
            raise at.refusal(node, CEIL_AVERAGE)
    return Pool(
        **common,
        kind=kind,
        kernel=kernel,
        stride=stride,
        padding=tuple(sides),  # type: ignore[arg-type]
    )


@_handles(_aten.adaptive_avg_pool2d.default, _aten.adaptive_max_pool2d.default)
def _adaptive_pool(at: _Import, node: fx.Node) -> _Result:
    largest = node.target == _aten.adaptive_max_pool2d.default
    sizes = at.whole_shape(node.args[0])[2:]
    common = at.common(node, node.args[0])
    if sizes == common["shape"][1:]:
        return at.tensor(node, node.args[0])
    return _even_windows(at, node, common, sizes, largest)


@_handles(_aten.mean.dim)
def _mean(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    whole = at.whole_shape(node.args[0])
    axes = {axis % len(whole) for axis in arguments["dim"] or ()}
    if len(whole) != 4 or axes != {2, 3}:
        raise at.refusal(node, TWO_AXES_MEAN)
    channels, height, width = whole[1:]
    common = at.common(node, node.args[0])
    return Pool(
        **{**common, "shape": common["shape"] if arguments["keepdim"] else (channels,)},
        kind="average_pool",
        kernel=(height, width),
        stride=(height, width),
        flat=not arguments["keepdim"],
    )


def _even_windows(
    at: _Import, node: fx.Node, common: dict[str, Any], sizes: Sequence[int], largest: bool
) -> Pool:
    height, width = sizes
    out_h, out_w = common["shape"][1:]
    if height % out_h or width % out_w:
        raise at.refusal(node, f"{height}x{width} does not divide into {out_h}x{out_w}")
    window = (height // out_h, width // out_w)
    kind: Any = "max_pool" if largest else "average_pool"
    return Pool(**common, kind=kind, kernel=window, stride=window)


@_handles(_aten.cat.default, _aten.concat.default, _aten.concatenate.default)
def _concat(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    tensors = arguments["tensors"]
    if arguments["dim"] % len(at.whole_shape(node)) != 1:
        raise at.refusal(node, "only channels can be concatenated")
    return Concat(**at.common(node, *tensors))


@_handles(
    _aten.view.default,
    _aten._unsafe_view.default,
    _aten.reshape.default,
    _aten.squeeze.default,
    _aten.squeeze.dim,
    _aten.squeeze.dims,
    _aten.unsqueeze.default,
    _aten.flatten.using_ints,
)
def _reshape(at: _Import, node: fx.Node) -> _Result:
    before, after = at.whole_shape(node.args[0]), at.whole_shape(node)
    if after[:1] != before[:1]:
        raise at.refusal(node, "only flattening each image into a vector has hardware")
    return under_shape(at.network, at.common(node, node.args[0]))


@_handles(_aten.channel_shuffle.default, _aten.native_channel_shuffle.default)
def _channel_shuffle(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    return Shuffle(**at.common(node, node.args[0]), groups=arguments["groups"])


@_handles(_aten.permute.default, _aten.transpose.int)
def _transpose(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    axes = list(range(len(at.whole_shape(node))))
    if node.target == _aten.permute.default:
        order = [axes[axis] for axis in arguments["dims"]]
    else:
        order, (first, second) = list(axes), (arguments["dim0"], arguments["dim1"])
        order[first], order[second] = axes[second], axes[first]
    result = transposed(at.network, at.common(node, node.args[0]), order) if order[0] == 0 else None
    if result is None:
        raise at.refusal(node, TRANSPOSE)
    return result


@_handles(_aten.clone.default, _aten.alias.default, _aten.detach.default, _aten.contiguous.default)
def _clone(at: _Import, node: fx.Node) -> _Result:
    """Dropout is exported as a copy; of what it was the program before still tells."""
    dropout = at.dropouts.get(at.origin(node))
    if dropout is None:
        return at.tensor(node, node.args[0])
    return Dropout(**at.common(node, node.args[0]), share=float(dropout[1]))


@_handles(_aten.dropout.default, _aten.native_dropout.default, _aten.bernoulli.p)
def _active_dropout(at: _Import, node: fx.Node) -> _Result:
    raise at.refusal(node, "it drops in eval mode too: give it training=self.training")


@_handles(_aten.pad.default, _aten.constant_pad_nd.default)
def _pad(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    if arguments.get("mode", "constant") != "constant" or arguments["value"] not in (None, 0):
        raise at.refusal(node, PADS_WITH_NUMBERS)
    amounts = list(arguments["pad"]) + [0] * (8 - len(arguments["pad"]))
    left, right, top, bottom, before, after, *images = amounts
    if any(images):
        raise at.refusal(node, WHOLE_IMAGES)
    common = at.common(node, node.args[0])
    return Pad(**common, amounts=(top, bottom, left, right, before, after))


@_handles(_aten.slice.Tensor)
def _slice(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    return _sliced(at, node, arguments["dim"], arguments["start"], arguments["end"],
                   arguments["step"])  # fmt: skip


def _sliced(
    at: _Import, node: fx.Node, axis: int, start: int | None, stop: int | None, step: int
) -> _Result:
    whole = at.whole_shape(node.args[0])
    axis %= len(whole)
    first, last, step = slice(start, stop, step).indices(whole[axis])
    if (first, last, step) == (0, whole[axis], 1):
        return at.tensor(node, node.args[0])
    if axis == 0:
        raise at.refusal(node, WHOLE_IMAGES)
    common = at.common(node, node.args[0])
    return Slice(**common, axis=axis - 1, start=first, stop=last, step=step)


@_handles(_aten.split.Tensor, _aten.split_with_sizes.default)
def _split(at: _Import, node: fx.Node) -> _Result:
    arguments = at.arguments(node)
    whole = at.whole_shape(node.args[0])
    axis = arguments["dim"] % len(whole)
    if axis == 0:
        raise at.refusal(node, WHOLE_IMAGES)
    shapes = [tuple(value.shape) for value in node.meta["val"]]
    start, parts = 0, []
    for shape in shapes:
        stop = start + shape[axis]
        common = at.common(node, node.args[0])
        part = Slice(**{**common, "shape": shape[1:]}, axis=axis - 1, start=start, stop=stop)
        at.network.operations.append(part)
        parts.append(part.name)
        start = stop
    at.parts[node] = parts
    return parts[0]


@_handles(
    _aten.softmax.int,
    _aten._softmax.default,
    _aten.log_softmax.int,
    _aten._log_softmax.default,
    _aten.sigmoid.default,
    _aten.argmax.default,
)
def _on_host(at: _Import, node: fx.Node) -> _Result:
    """Allowed at the end alone, which a pass checks."""
    return OnHost(**at.common(node, node.args[0]), kind=at.origin(node).rstrip("_0123456789"))


_REASONS = {
    **dict.fromkeys(
        ("gelu", "silu", "leaky_relu", "prelu", "_prelu_kernel", "hardswish", "elu", "selu"),
        NO_ZEROS,
    ),
    **dict.fromkeys(("mish", "softplus", "tanh", "hardsigmoid", "celu"), NO_ZEROS),
    **dict.fromkeys(
        ("matmul", "bmm", "scaled_dot_product_attention", "mm"),
        PRODUCT,
    ),
}


def _reason(node: fx.Node) -> str:
    target = str(getattr(node.target, "_schema", None) and node.target._schema.name)  # type: ignore[union-attr]
    function = target.removeprefix("aten::")
    return f"{function}: {_REASONS.get(function, NO_COUNTERPART)}"
