"""Loading saved weights into a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from golden.errors import UserError
from golden.reading import check_readable

__all__ = ["load_weights"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training programs save a state dict beside other things."""
_COMPILED = "_orig_mod."
"""What `torch.compile` puts before the names of a compiled module, also in the middle of a path."""
_PARALLEL = "module."
"""What DataParallel and DistributedDataParallel put before all names."""


def load_weights(module: nn.Module, file: Path, classes: int | None) -> None:
    """Fill a module from a saved state dict, in a file of `torch.save` or of safetensors.

    Nothing in the file is executed. The state dict may lie under one of the keys `state_dict`,
    `model_state_dict`, `model` and `net`. The prefixes `module.` and `_orig_mod.` of names are
    dropped. Half precision, bfloat16 and float64 become float32.

    Parameters
    ----------
    module : nn.Module
    file : Path
        A name that ends with `.safetensors` says that it is a file of safetensors.
    classes : int or None
        Number of classes of the module, if it is known.

    Raises
    ------
    UserError
        If an entry is missing, unknown, of another shape, not floating point or not finite, or if
        the file is for another number of classes. It names the file and the entry.
    """
    wanted = module.state_dict()
    state = {_plain_name(name, wanted): value for name, value in _state_dict(file).items()}
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
        elif wanted[name].is_floating_point():
            state[name] = _as_floats(state[name], wanted[name].dtype, f"{file}: {name}")
        elif state[name].dtype != wanted[name].dtype:
            raise UserError(
                f"{file}: {name}: has values of type {_kind(state[name])}, the model's are "
                f"{_kind(wanted[name])}"
            )
    module.load_state_dict(state, strict=False)


def _as_floats(value: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """Convert floating-point weights of any width; refuse what is no finite real number."""
    if not value.is_floating_point() or value.layout is not torch.strided:
        raise UserError(
            f"{name}: has values of type {_kind(value)}, not dense floating-point numbers; save "
            "the weights as floats"
        )
    value = value.to(dtype)
    if not bool(value.isfinite().all()):
        raise UserError(f"{name}: contains NaN or infinity")
    return value


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _plain_name(name: str, wanted: dict[str, Tensor]) -> str:
    """Return a parameter's name in the module, without the prefixes that wrappers add."""
    if name in wanted:
        return name
    name = name.replace(_COMPILED, "")
    while name not in wanted and name.startswith(_PARALLEL):
        name = name.removeprefix(_PARALLEL)
    return name


def _state_dict(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name."""
    content: Any
    check_readable(file)
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{file}: not a readable state dict: {reason}; write one with "
            "torch.save(module.state_dict(), FILE)"
        ) from None
    while isinstance(content, dict):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)]
        if not inner:
            break
        content = inner[0]
    tensors = isinstance(content, dict) and all(isinstance(v, Tensor) for v in content.values())
    if not tensors or not content or not all(isinstance(name, str) for name in content):
        raise UserError(f"{file}: holds no state dict")
    return dict(content)
