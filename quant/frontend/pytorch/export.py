"""From a PyTorch module to a `Network`, by `torch.export`.

`torch.export` runs the module's own Python once on tensors without contents, so what it records is
what the module computes for one image after another: hooks, pruning, in-place operations, default
arguments and modules made on the way are all in it. `run_decompositions` then replaces in-place
operations, so that every operation writes a tensor of its own. An operation whose operands are all
constants is computed here.
"""

from __future__ import annotations

import logging
import warnings

import torch
from torch import nn
from torch.export import ExportedProgram

from golden.errors import UserError
from quant.frontend.operations import Network
from quant.frontend.pytorch import (  # noqa: F401  (they register handlers)
    operators,
    pools,
    shapes,
    upsampling,
)
from quant.frontend.pytorch.nodes import IMAGES, NodeImport

__all__ = ["import_module"]


def import_module(module: nn.Module, shape: tuple[int, int, int]) -> Network:
    """The operations of a module in eval mode on images of `shape`, (channels, height, width).

    Raises UserError that names the place and the reason where an operation has no counterpart.
    """
    program = _exported(module, shape)
    return NodeImport(program, shape).run()


def _exported(module: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
    name = type(module).__name__
    images = torch.zeros(IMAGES, *shape, dtype=_dtype(module))
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
