"""Files of tensors, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from quant.runtime.processes import is_first

__all__ = ["save_whole"]


def save_whole(content: dict[str, Any], file: Path) -> None:
    """What torch.save writes, under a temporary name and then in its place.

    Of several processes, the first one writes it.
    """
    if not is_first():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.new")
    torch.save(content, scratch)
    os.replace(scratch, file)
