"""Output files of commands. Several processes may run a command; only the first one writes.

Files are written whole or not at all (`golden.files`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from golden.files import check_writable_file, write_file
from quant.runtime.processes import is_first

__all__ = ["check_outputs", "write_json", "write_tensors"]


def check_outputs(*files: Path | None) -> None:
    """Raise UserError unless all these files can be written; None stands for no file.

    Commands call this before they start long work.
    """
    for file in files:
        if file is not None:
            check_writable_file(file)


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file."""
    if is_first():
        write_file(file, json.dumps(content, indent=2) + "\n")


def write_tensors(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file that `torch.load` reads."""
    if is_first():
        write_file(file, lambda stream: torch.save(dict(content), stream))
