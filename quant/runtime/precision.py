"""The precision that a network is trained in: float32, or bfloat16 where that is faster."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, get_args

import torch

__all__ = ["PRECISIONS", "Precision", "fastest_precision", "mixed"]

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def fastest_precision(device: str) -> Precision:
    """Return bfloat16 if `device`, "cpu" or "cuda", has matrix units for it, else float32.

    A processor with AMX has them. AVX512_BF16 alone does not help: on an Intel Xeon a training step
    then took 1.37 times (AlexNet), 1.18 times (VGG-16) and 1.28 times (ResNet-18) as long as in
    float32.
    """
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bfloat16" if fast else "float32"


def mixed(device: torch.device | str, precision: Precision) -> AbstractContextManager[None]:
    """Return a context in which a module's convolutions and matrix products run in `precision`.

    The module's parameters stay float32. So do BatchNorm and the other operations that PyTorch's
    autocast does not change.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16")
