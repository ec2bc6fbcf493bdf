"""Tracing of a module by torch.fx: its operations in order, with the shapes of all tensors.

Shapes are found on PyTorch's meta device, which computes nothing. So a network of any size is
traced at once.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from golden.errors import UserError
from quant.networks.cifar_resnet import OptionA

__all__ = ["IMAGES", "read_once", "trace", "unsupported"]

IMAGES = 2
"""Images in a trace: more than one, so that flattening each image differs from flattening all."""


def trace(module: nn.Module, shape: tuple[int, int, int]) -> fx.GraphModule:
    """Trace the operations on images of `shape`, (channels, height, width).

    A node whose result is a tensor has its shape for `IMAGES` images in `meta["shape"]`. A node's
    `meta["number"]` says whether its result is a size or another number. Raises UserError if the
    module cannot be traced, or does not take such images.
    """
    tracer = _Tracer()
    try:
        traced = fx.GraphModule(module, tracer.trace(module))
    except (fx.proxy.TraceError, RuntimeError, TypeError) as error:  # torch.fx raises all three
        raise UserError(f"{type(module).__name__} cannot be traced by torch.fx: {error}") from None
    try:
        _Shapes(module, traced.graph).run(torch.empty(IMAGES, *shape, device="meta"))
    except RuntimeError as error:
        reason = f"does not take images of {shape}: {str(error).splitlines()[0]}"
        raise UserError(f"{type(module).__name__} {reason}") from None
    return traced


def read_once(node: fx.Node) -> bool:
    """Return whether exactly one operation reads a tensor's values, not counting its size."""
    return sum(not user.meta["number"] for user in node.users) == 1


def unsupported(node: fx.Node, reason: str) -> UserError:
    """Return an error that names the module by its path, or the function by its caller."""
    path = str(node.target)
    if node.op != "call_module":
        stack = list(node.meta.get("nn_module_stack", {}).values())
        path = f"{stack[-1][0] or 'the network'}: {node.name}" if stack else node.name
    return UserError(f"{path}: cannot be lowered: {reason}")


class _Tracer(fx.Tracer):
    """Traces into every module except PyTorch's own and the option A shortcut."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OptionA) or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Stores the shapes of results in a graph's nodes."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(copy.deepcopy(module).to("meta"), graph=graph)
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        n.meta["number"] = isinstance(result, int | float | torch.Size)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        return result
