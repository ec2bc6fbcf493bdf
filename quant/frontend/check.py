"""The check that a lowered graph computes what its module computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from golden.errors import UserError
from quant.frontend.graph import Graph
from quant.frontend.imported import ImportedModule
from quant.frontend.pytorch.export import import_module

__all__ = ["TOLERANCE", "check_equal"]

TOLERANCE = 1e-3
"""Largest difference that is taken for rounding, as a share of the largest value of the tensor."""


@torch.no_grad()
def check_equal(module: nn.Module, graph: Graph, images: Tensor) -> None:
    """Raise UserError where `graph` does not give what `module` gives.

    The error names the first layer that differs.

    Parameters
    ----------
    module : nn.Module in eval mode
        PyTorch runs it; a network of another format is run by that format's runtime.
    graph : Graph
    images : float (n, channels, height, width)
        Normalised as the network wants them.
    """
    tensors = {layer.name: ofm for layer, ofm in graph.run(images)}
    worst = difference(tensors[graph.output].flatten(1), _expected(module, graph, images))
    if worst <= TOLERANCE:
        if isinstance(module, ImportedModule):
            module.check(images)
        return
    imported = _imported(module, graph, images)
    for layer in graph.layers:
        original = imported.get(graph.stands_for.get(layer.name) or "")
        if original is not None:
            here = difference(tensors[layer.name].flatten(1), original.flatten(1))
            if here > TOLERANCE:
                raise UserError(_differs(layer.name, here))
    raise UserError(_differs(graph.output, worst))


def _expected(module: nn.Module, graph: Graph, images: Tensor) -> Tensor:
    """Return what the module gives, or gives the host where that goes on: (n, length)."""
    if graph.on_host and not isinstance(module, ImportedModule):
        return import_module(module, graph.shapes["input"]).result(images).flatten(1)
    return module(images).flatten(1)


def _imported(module: nn.Module, graph: Graph, images: Tensor) -> dict[str, Tensor]:
    """The tensor of each operation, from the module's runtime where it tells them."""
    if isinstance(module, ImportedModule):
        return module.tensors(images)
    network = import_module(module, graph.shapes["input"])
    return {operation.name: value for operation, value in network.run(images)}


def difference(values: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest expected magnitude."""
    if values.shape != expected.shape:
        return float("inf")
    largest = max(float(expected.abs().max()), 1e-12)
    return float((values - expected).abs().max()) / largest


def _differs(name: str, share: float) -> str:
    return (
        f"{name}: the lowered network differs from the module by {100 * share:.3g} % of the largest"
        " value, from this layer on; please report the network as a fault of zapcore"
    )
