"""Modules that were not written in PyTorch and bring their operations along."""

from __future__ import annotations

from torch import Tensor, nn

from golden.errors import UserError
from quant.frontend.operations import Network
from quant.frontend.pytorch.export import import_module

__all__ = ["ImportedModule", "import_network"]


class ImportedModule(nn.Module):
    """A network of another format: `forward` runs it by that format's own runtime."""

    shape: tuple[int, int, int]
    """The (channels, height, width) of its images."""

    def network(self) -> Network:
        """Its operations; each call returns a copy that may be rewritten."""
        raise NotImplementedError

    def results(self, images: Tensor) -> list[Tensor]:
        """Return all that the network returns, computed by its runtime."""
        raise NotImplementedError

    def tensors(self, images: Tensor) -> dict[str, Tensor]:
        """Return what the runtime computes for each operation of `network()`, by name."""
        raise NotImplementedError

    def check(self, images: Tensor) -> None:
        """Raise UserError where `forward` is not what the file means, if that can be told."""


def import_network(module: nn.Module, shape: tuple[int, int, int]) -> Network:
    """The operations of a module in eval mode on images of `shape`, (channels, height, width).

    Raises UserError that names the place and the reason where an operation has no counterpart.
    """
    if not isinstance(module, ImportedModule):
        return import_module(module, shape)
    if tuple(shape) != module.shape:
        raise UserError(
            f"the network takes images of {_size(module.shape)}, but these are {_size(shape)}"
        )
    return module.network()


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
