"""Imports the operators of ONNX that move, join, cut out or pass on values."""

from __future__ import annotations

from onnx import NodeProto

from quant.frontend.onnx.nodes import NodeImport, Result, handles
from quant.frontend.operations import INPUT, Concat, Dropout, Pad, Slice
from quant.frontend.refusals import PADS_WITH_NUMBERS, TRANSPOSE, WHOLE_IMAGES
from quant.frontend.reshapes import transposed, under_shape

__all__: list[str] = []


@handles("Concat")
def _concat(at: NodeImport, node: NodeProto) -> Result:
    if at.attribute(node, "axis", 1) % len(at.whole_shape(node.output[0])) != 1:
        raise at.refusal(node, "only channels can be concatenated")
    return at.same(node) if len(node.input) == 1 else Concat(**at.common(node, *node.input))


@handles("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(at: NodeImport, node: NodeProto) -> Result:
    images = at.whole_shape(node.input[0])[0]
    if at.whole_shape(node.output[0])[0] != images:
        raise at.refusal(node, "only flattening each image into a vector has hardware")
    return under_shape(at.network, at.common(node, node.input[0]))


@handles("Transpose")
def _transpose(at: NodeImport, node: NodeProto) -> Result:
    source = node.input[0]
    rank = len(at.whole_shape(source))
    order = list(at.attribute(node, "perm", list(range(rank))[::-1]))
    if source in at.untransposed and order == [0, 3, 1, 2]:
        return INPUT
    result = transposed(at.network, at.common(node, source), order) if order[0] == 0 else None
    if result is None:
        raise at.refusal(node, TRANSPOSE)
    return result


@handles("Identity")
def _identity(at: NodeImport, node: NodeProto) -> Result:
    return at.same(node)


@handles("Cast")
def _cast(at: NodeImport, node: NodeProto) -> Result:
    before, after = (
        at.types[name].tensor_type.elem_type for name in (node.input[0], node.output[0])
    )
    if before != after:
        raise at.refusal(node, "only tensors of float32 have hardware")
    return at.same(node)


@handles("Dropout")
def _dropout(at: NodeImport, node: NodeProto) -> Result:
    training = at.array(node, 2)
    if training is not None and bool(training):
        raise at.refusal(node, "it drops at inference too: export the model in eval mode")
    share = at.attribute(node, "ratio", None)
    if share is None:
        ratio = at.array(node, 1)
        share = 0.5 if ratio is None else float(ratio)
    return Dropout(**at.common(node, node.input[0]), share=share)


@handles("Pad")
def _pad(at: NodeImport, node: NodeProto) -> Result:
    value = at.attribute(node, "value", None)
    if value is None:
        array = at.array(node, 2)
        value = 0 if array is None or array.size == 0 else float(array)
    if at.attribute(node, "mode", "constant") != "constant" or value != 0:
        raise at.refusal(node, PADS_WITH_NUMBERS)
    pads = at.integers(node, "pads", 1)
    rank = len(at.whole_shape(node.input[0]))
    axes = at.integers(node, "axes", 3) or list(range(rank))
    assert pads is not None
    amounts = dict.fromkeys(range(rank), (0, 0))
    amounts.update(zip((axis % rank for axis in axes), zip(pads, pads[len(axes) :])))
    if any(amounts[0]):
        raise at.refusal(node, WHOLE_IMAGES)
    if not any(pads):
        return at.same(node)
    if rank != 4:
        raise at.refusal(node, "only maps can be padded")
    sides = (*amounts[2], *amounts[3], *amounts[1])
    return Pad(**at.common(node, node.input[0]), amounts=sides)


@handles("Slice")
def _slice(at: NodeImport, node: NodeProto) -> Result:
    starts, ends = at.integers(node, "starts", 1), at.integers(node, "ends", 2)
    assert starts is not None
    assert ends is not None
    axes = at.integers(node, "axes", 3) or list(range(len(starts)))
    steps = at.integers(node, "steps", 4) or [1] * len(starts)
    whole = list(at.whole_shape(node.input[0]))
    current: Result = at.same(node)
    for axis, start, stop, step in zip(axes, starts, ends, steps):
        axis %= len(whole)
        if step < 0:
            raise at.refusal(node, "a slice that goes backwards has no hardware")
        first, last, step = slice(start, stop, step).indices(whole[axis])
        if (first, last, step) == (0, whole[axis], 1):
            continue
        if axis == 0:
            raise at.refusal(node, WHOLE_IMAGES)
        whole[axis] = len(range(first, last, step))
        if isinstance(current, Slice):
            current = at.add(current)
        common = {**at.common(node, node.input[0]), "shape": tuple(whole[1:]), "inputs": [current]}
        current = Slice(**common, axis=axis - 1, start=first, stop=last, step=step)
    return current


@handles("Split")
def _split(at: NodeImport, node: NodeProto) -> Result:
    axis = at.attribute(node, "axis", 0) % len(at.whole_shape(node.input[0]))
    if axis == 0:
        raise at.refusal(node, WHOLE_IMAGES)
    start = 0
    for output in node.output:
        shape = at.whole_shape(output)
        stop = start + shape[axis]
        common = {**at.common(node, node.input[0]), "shape": shape[1:]}
        at.add(Slice(**common, axis=axis - 1, start=start, stop=stop), output)
        start = stop
    return None
