"""Handlers of operations that move numbers: concat, reshape, transpose, pad, slice, split."""

from __future__ import annotations

import torch
from torch import fx

from quant.frontend.operations import (
    Concat,
    Pad,
    Shuffle,
    Slice,
)
from quant.frontend.pytorch.nodes import NodeImport, Result, handles
from quant.frontend.refusals import (
    PADS_WITH_NUMBERS,
    TRANSPOSE,
    WHOLE_IMAGES,
)
from quant.frontend.reshapes import transposed, under_shape

__all__: list[str] = []

aten = torch.ops.aten


@handles(aten.cat.default, aten.concat.default, aten.concatenate.default)
def _concat(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    tensors = arguments["tensors"]
    if arguments["dim"] % len(at.whole_shape(node)) != 1:
        raise at.refusal(node, "only channels can be concatenated")
    return Concat(**at.common(node, *tensors))


@handles(
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.flatten.using_ints,
)
def _reshape(at: NodeImport, node: fx.Node) -> Result:
    before, after = at.whole_shape(node.args[0]), at.whole_shape(node)
    if after[:1] != before[:1]:
        raise at.refusal(node, "only flattening each image into a vector has hardware")
    return under_shape(at.network, at.common(node, node.args[0]))


@handles(aten.channel_shuffle.default, aten.native_channel_shuffle.default)
def _channel_shuffle(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    return Shuffle(**at.common(node, node.args[0]), groups=arguments["groups"])


@handles(aten.permute.default, aten.transpose.int)
def _transpose(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    axes = list(range(len(at.whole_shape(node))))
    if node.target == aten.permute.default:
        order = [axes[axis] for axis in arguments["dims"]]
    else:
        order, (first, second) = list(axes), (arguments["dim0"], arguments["dim1"])
        order[first], order[second] = axes[second], axes[first]
    result = transposed(at.network, at.common(node, node.args[0]), order) if order[0] == 0 else None
    if result is None:
        raise at.refusal(node, TRANSPOSE)
    return result


@handles(aten.pad.default, aten.constant_pad_nd.default)
def _pad(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    if arguments.get("mode", "constant") != "constant" or arguments["value"] not in (None, 0):
        raise at.refusal(node, PADS_WITH_NUMBERS)
    amounts = list(arguments["pad"]) + [0] * (8 - len(arguments["pad"]))
    left, right, top, bottom, before, after, *images = amounts
    if any(images):
        raise at.refusal(node, WHOLE_IMAGES)
    common = at.common(node, node.args[0])
    return Pad(**common, amounts=(top, bottom, left, right, before, after))


@handles(aten.slice.Tensor)
def _slice(at: NodeImport, node: fx.Node) -> Result:
    arguments = at.arguments(node)
    return _sliced(at, node, arguments["dim"], arguments["start"], arguments["end"],
                   arguments["step"])  # fmt: skip


def _sliced(
    at: NodeImport, node: fx.Node, axis: int, start: int | None, stop: int | None, step: int
) -> Result:
    whole = at.whole_shape(node.args[0])
    axis %= len(whole)
    first, last, step = slice(start, stop, step).indices(whole[axis])
    if (first, last, step) == (0, whole[axis], 1):
        return at.tensor(node, node.args[0])
    if axis == 0:
        raise at.refusal(node, WHOLE_IMAGES)
    common = at.common(node, node.args[0])
    return Slice(**common, axis=axis - 1, start=first, stop=last, step=step)


@handles(aten.split.Tensor, aten.split_with_sizes.default)
def _split(at: NodeImport, node: fx.Node) -> Result:
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
