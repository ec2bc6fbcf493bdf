"""Files of tensors, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

__all__ = ["save_whole"]


def save_whole(content: dict[str, Any], file: Path) -> None:
    """What torch.save writes, under a temporary name and then in its place."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.new")
    torch.save(content, scratch)
    os.replace(scratch, file)
