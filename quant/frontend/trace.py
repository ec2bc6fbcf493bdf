"""What a module computes, operation by operation, as torch.fx sees it, with every shape.

Nothing is computed: shapes are found on PyTorch's meta device, so that a network of any size is
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
"""What is traced with: more than one, so that images are told apart from one long vector."""


def trace(module: nn.Module, shape: tuple[int, int, int]) -> fx.GraphModule:
    """The operations on images of `shape`, (channels, height, width).

    Each node has `meta["shape"]`, its result's with `IMAGES` images, where that is a tensor, and
    `meta["number"]`, whether it is a size or another number. Raises UserError.
    """
    tracer = _Tracer()
    try:
        traced = fx.GraphModule(module, tracer.trace(module))
    except (fx.proxy.TraceError, RuntimeError, TypeError) as error:  # it raises all of them
        raise UserError(f"{type(module).__name__} cannot be traced by torch.fx: {error}") from None
    try:
        _Shapes(module, traced.graph).run(torch.empty(IMAGES, *shape, device="meta"))
    except RuntimeError as error:
        reason = f"does not take images of {shape}: {str(error).splitlines()[0]}"
        raise UserError(f"{type(module).__name__} {reason}") from None
    return traced


def read_once(node: fx.Node) -> bool:
    """Whether one operation alone sees a tensor's values; asking for its size is none."""
    return sum(not user.meta["number"] for user in node.users) == 1


def unsupported(node: fx.Node, reason: str) -> UserError:
    """An error that names the module by its path, or the function by the module that calls it."""
    path = str(node.target)
    if node.op != "call_module":
        stack = list(node.meta.get("nn_module_stack", {}).values())
        path = f"{stack[-1][0] or 'the network'}: {node.name}" if stack else node.name
    return UserError(f"{path}: cannot be lowered: {reason}")


class _Tracer(fx.Tracer):
    """Looks into every module but PyTorch's own and the option A shortcut."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OptionA) or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Notes in a graph's nodes what results are like."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(copy.deepcopy(module).to("meta"), graph=graph)
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        n.meta["number"] = isinstance(result, int | float | torch.Size)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        return result
