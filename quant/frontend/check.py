"""The check that a lowered graph computes what its module computes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from golden.errors import UserError
from quant.frontend.graph import Graph
from quant.frontend.imported import ImportedModule, import_network
from quant.frontend.operations import INPUT, Network, Output

__all__ = ["TOLERANCE", "check_equal"]

TOLERANCE = 1e-3
"""Largest difference that is taken for rounding, as a share of the largest value of the tensor."""


@torch.no_grad()
def check_equal(
    module: nn.Module, graph: Graph, images: Tensor, network: Network | None = None
) -> None:
    """Raise UserError where `graph` does not give what `module` gives.

    What the host is to compute is computed from the graph's tensors, and compared with what the
    module returns. The error names the first layer that differs.

    Parameters
    ----------
    module : nn.Module in eval mode
        PyTorch runs it; a network of another format is run by that format's runtime.
    graph : Graph
    images : float (n, channels, height, width)
        Normalised as the network wants them.
    network : Network or None
        The module as it was imported; None imports it where that is needed.
    """
    tensors = {INPUT: images} | {layer.name: ofm for layer, ofm in graph.run(images)}
    worst = _worst(graph, tensors, _results(module, images))
    imported = None
    if worst <= TOLERANCE and any(output.on_host for output in graph.outputs):
        # A softmax or an argmax hides differences of what it is computed from.
        imported = _imported(module, graph, images, network)
        worst = max(_hidden(graph, tensors, imported), worst)
    if worst <= TOLERANCE:
        if isinstance(module, ImportedModule):
            module.check(images)
        return
    imported = imported or _imported(module, graph, images, network)
    for layer in graph.layers:
        original = imported.get(graph.stands_for.get(layer.name) or "")
        if original is not None:
            here = difference(tensors[layer.name].flatten(1), original.flatten(1))
            if here > TOLERANCE:
                raise UserError(_differs(layer.name, here))
    raise UserError(_differs(graph.output, worst))


def _results(module: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the tensors that the module itself returns, those of tuples, lists and dicts."""
    if isinstance(module, ImportedModule):
        return module.results(images)
    returned = pytree.tree_leaves(module(images))
    return [result for result in returned if isinstance(result, Tensor)]


def _worst(graph: Graph, tensors: Mapping[str, Tensor], expected: list[Tensor]) -> float:
    """The largest difference between what the graph and the module return."""
    if len(graph.outputs) != len(expected):
        return float("inf")
    differences = []
    for output, result in zip(graph.outputs, expected):
        tensor = tensors[output.tensor]
        if output.on_host and output.on_host[-1].kind == "argmax":
            differences.append(_behind_largest(output, tensor, result))
        else:
            differences.append(difference(output.finish(tensor), result))
    return max(differences)


def _behind_largest(output: Output, tensor: Tensor, chosen: Tensor) -> float:
    """The most by which a value that an argmax of the module chose is behind the graph's largest.

    It is a share of the largest magnitude, so that values that rounding alone tells apart may
    change places.
    """
    *before, argmax = output.on_host
    values = Output(output.tensor, output.shape, before).finish(tensor)
    (axis,) = argmax.axes
    if argmax.run(values).shape != chosen.shape:
        return float("inf")
    index = chosen if argmax.keeps_axis else chosen.unsqueeze(axis)
    behind = values.amax(axis, keepdim=True) - values.gather(axis, index)
    return float(behind.max()) / max(float(values.abs().max()), 1e-12)


def _hidden(graph: Graph, tensors: Mapping[str, Tensor], imported: Mapping[str, Tensor]) -> float:
    """The largest difference of the tensors that the host goes on from, where one is imported."""
    differences = [0.0]
    for output in graph.outputs:
        original = imported.get(graph.stands_for.get(output.tensor) or "")
        if output.on_host and original is not None:
            here = tensors[output.tensor].flatten(1)
            differences.append(difference(here, original.flatten(1)))
    return max(differences)


def _imported(
    module: nn.Module, graph: Graph, images: Tensor, network: Network | None
) -> dict[str, Tensor]:
    """The tensor of each operation, from the module's runtime where it tells them."""
    if isinstance(module, ImportedModule):
        return module.tensors(images)
    network = network or import_network(module, graph.shapes[INPUT])
    return {operation.name: value for operation, value in network.run(images)}


def difference(values: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest expected magnitude."""
    if values.shape != expected.shape:
        return float("inf")
    largest = max(float(expected.abs().max()), 1e-12)
    worst = float((values - expected).abs().max()) / largest
    return worst if worst == worst else float("inf")


def _differs(name: str, share: float) -> str:
    return (
        f"{name}: the lowered network differs from the module by {100 * share:.3g} % of the largest"
        " value, from this layer on; please report the network as a fault of zapcore"
    )
