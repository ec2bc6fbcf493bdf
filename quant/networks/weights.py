"""Loading saved weights into a network."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from golden.errors import UserError

__all__ = ["load_weights"]


def load_weights(module: nn.Module, file: Path, classes: int) -> None:
    """Fill a module from a saved state dict, bare or under the key `state_dict`.

    Nothing in the file is executed. The prefix `module.`, which DataParallel adds to names, is
    dropped.

    Parameters
    ----------
    module : nn.Module
    file : Path
    classes : int
        Number of classes of the module.

    Raises
    ------
    UserError
        If an entry is missing, unknown, of another shape or not finite, or if the file is for
        another number of classes. It names the file and the entry.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file}: not found") from None
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: not a readable state dict: {reason}") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file}: holds no state dict")
    state = {name.removeprefix("module."): value for name, value in state.items()}

    wanted = module.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            if not name.endswith("num_batches_tracked"):  # older files lack it, nothing uses it
                raise UserError(f"{file}: {name}: missing; the file is for another model")
        elif name not in wanted:
            raise UserError(f"{file}: {name}: unknown to the model; the file is for another one")
        elif state[name].shape != wanted[name].shape:
            found, mine = tuple(state[name].shape), tuple(wanted[name].shape)
            if found and mine == (classes, *found[1:]):
                raise UserError(f"{file}: {name}: is for {found[0]} classes, not for {classes}")
            raise UserError(f"{file}: {name}: has shape {found}, the model's has {mine}")
        elif not bool(state[name].isfinite().all()):
            raise UserError(f"{file}: {name}: contains NaN or infinity")
    module.load_state_dict(state, strict=False)
