"""Passes that write an operation in others change nothing that the network computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from quant.frontend.lowering import lower_network
from quant.frontend.operations import (
    Affine,
    Clamp,
    Convolution,
    DepthToSpace,
    Network,
    Operation,
    Pad,
    Slice,
    TransposedConvolution,
    UnevenPool,
    Upsample,
    Windows,
)
from quant.frontend.passes import simplify
from quant.frontend.passes.uneven_pools import even_runs

C, H, W = 6, 5, 7


def operation(kind: type[Operation], shape: tuple[int, ...], /, **fields: Any) -> Operation:
    return kind(name="op", inputs=["c"], shape=shape, where="op", **fields)


def transposed(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    cropping: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Operation:
    """A transposed convolution to 4 channels."""
    made = TransposedConvolution(
        name="op",
        inputs=["c"],
        shape=(0,),
        where="op",
        weight=torch.randn(C, 4 // groups, *kernel),
        bias=torch.randn(4),
        stride=stride,
        cropping=cropping,
        dilation=dilation,
        groups=groups,
    )
    return replace(made, shape=tuple(made.run(torch.zeros(1, C, H, W)).shape[1:]))


def clipped(size: int) -> Windows:
    """Windows of three with a stride of one, without the padding at either end."""
    return tuple((max(middle - 1, 0), min(middle + 2, size)) for middle in range(size))


def operations() -> Iterator[Operation]:
    yield operation(Upsample, (C, 10, 21), factors=(2, 3))
    yield operation(Upsample, (C, 5, 14), factors=(1, 2))
    yield operation(DepthToSpace, (2, 5, 21), block=(1, 3))
    for blocks_first in (False, True):
        yield operation(DepthToSpace, (1, 15, 14), block=(3, 2), blocks_first=blocks_first)
    for groups in (1, 2):
        yield transposed((2, 2), (2, 2), groups=groups)
        yield transposed((3, 2), (3, 2), groups=groups)
        yield transposed((3, 3), (2, 2), (1, 0, 1, 0), groups=groups)
        yield transposed((4, 4), (2, 2), (1, 1, 1, 1), groups=groups)
        yield transposed((3, 3), (1, 1), (1, 1, 1, 1), groups=groups)
        yield transposed((2, 3), (3, 2), (-1, 1, 0, -2), (2, 1), groups)
        yield transposed((1, 1), (2, 2), groups=groups)
        yield transposed((2, 1), (2, 1), groups=groups)
    some = ((0, 2), (1, 4), (3, 5))
    others = ((0, 2), (1, 4), (3, 6), (5, 7))
    for kind in ("max_pool", "average_pool"):
        yield operation(UnevenPool, (C, 3, 4), kind=kind, rows=some, columns=others)
        yield operation(UnevenPool, (C, 5, 7), kind=kind, rows=clipped(H), columns=clipped(W))
        yield operation(UnevenPool, (C, 2, 7), kind=kind, rows=some[:2], columns=((0, 1),) * 7)
    yield operation(Slice, (C, 2, 7), axis=1, start=1, stop=4, step=2)
    yield operation(Slice, (C, 5, 3), axis=2, start=0, stop=5, step=2)
    yield operation(Slice, (2, 5, 7), axis=0, start=1, stop=6, step=3)
    yield operation(Pad, (C - 1, 4, 9), amounts=(-2, 1, -1, 3, -2, 1))


torch.manual_seed(0)
OPERATIONS = list(operations())


@pytest.mark.parametrize("made", OPERATIONS, ids=lambda made: type(made).__name__)
@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_what_a_network_computes_stays(made: Operation, *, clamped: bool, affine: bool) -> None:
    """Every link of a chain has the shape that it says, and the graph of layers agrees."""
    kernel, bias = torch.randn(C, 3, 3, 3), torch.randn(C)
    first: dict[str, Any] = {"name": "c", "inputs": ["input"], "where": "c", "shape": (C, H, W)}
    network = Network(
        (3, H, W), [Convolution(**first, weight=kernel, bias=bias, padding=(1, 1, 1, 1)), made]
    )
    behind: dict[str, Any] = {"shape": made.shape, "where": "behind"}
    if affine:
        gain, offset = torch.randn(2, made.shape[0]).double()
        network.operations.append(
            Affine(name="affine", inputs=["op"], gain=gain, offset=offset, **behind)
        )
    if clamped:
        last = network.operations[-1].name
        network.operations.append(Clamp(name="clamp", inputs=[last], **behind))
    network.append_output(network.operations[-1].name)
    images = torch.randn(2, 3, H, W)
    expected = network.result(images)
    assert expected.shape[1:] == made.shape
    lowered = lower_network(network.copy())
    network = network.copy()
    simplify(network)
    for link in network.operations:
        inputs = [torch.zeros(2, *network.shape(name)) for name in link.inputs]
        assert link.run(*inputs).shape[1:] == link.shape, link.name
    torch.testing.assert_close(network.result(images), expected, rtol=1e-4, atol=1e-4)
    results = {layer.name: ofm for layer, ofm in lowered.run(images)}
    torch.testing.assert_close(results[lowered.output], expected, rtol=1e-4, atol=1e-4)


def test_windows_are_cut_into_runs_that_agree() -> None:
    assert even_runs(((0, 3), (2, 5), (4, 7))) == [((0, 3), (2, 5), (4, 7))]
    assert even_runs(clipped(5)) == [((0, 2),), ((0, 3), (1, 4), (2, 5)), ((3, 5),)]
    assert even_runs(((0, 1),) * 3) == [((0, 1),)] * 3
    assert even_runs(((0, 2), (1, 3), (3, 5))) == [((0, 2), (1, 3)), ((3, 5),)]


def test_a_copy_is_stored_as_what_it_copies_is() -> None:
    """An upsampled map of a ReLU has no sign, and what is copied on the way has one scale."""
    network = Network((3, H, W))
    first: dict[str, Any] = {"name": "c", "inputs": ["input"], "where": "c", "shape": (C, H, W)}
    kernel, bias = torch.randn(C, 3, 1, 1), torch.randn(C)
    network.operations = [Convolution(**first, weight=kernel, bias=bias)]
    network.operations.append(operation(Upsample, (C, 10, 14), factors=(2, 2)))
    clamp: dict[str, Any] = {"name": "relu", "inputs": ["op"], "where": "r", "shape": (C, 10, 14)}
    network.operations.append(Clamp(**clamp, high=math.inf))
    network.append_output("relu")
    graph = lower_network(network)
    assert not any(graph.signed(layer.name) for layer in graph.layers)
    groups = graph.scale_groups()
    assert groups["op:columns"] == groups["c"]
    assert groups["op:rows"] != groups["c"]
