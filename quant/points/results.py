"""The list of measured operating points: a JSON file that commands add their results to.

`docs/results/operating_points.json` is one. An entry has network, dataset, method, pattern, budget,
predicted_drop and drop (points), predicted_mac_reduction and mac_reduction (shares of all conv
MACs), recalibrated, fine_tuned, float_top1, int8_top1 and top1 (percent), images, and the command
that made it. One that was chosen by statistics also has error, the sum of eps that it was chosen
at, and line, the [error, drop] pairs measured on held-out images that its drop was predicted from;
one of value prediction or feature-map pruning has window, epsilon (levels) and load_reduction
(share of ifm activations not loaded).
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from golden.errors import UserError
from quant.runtime.processes import is_first

__all__ = ["Result", "command", "read", "write", "write_json"]

Result = dict[str, Any]
"""An entry of the list."""

_KEY = ("network", "dataset", "method", "pattern", "budget", "recalibrated", "fine_tuned")
"""Of results that agree in these, the later takes the place of the earlier."""


def command(module: str) -> str:
    """The command line that this process was started with, for a module of this project."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def read(file: Path | None) -> list[Result]:
    """The results so far: none where there is no file, or none yet."""
    if file is None or not file.exists():
        return []
    try:
        results = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: not readable as JSON: {error}") from None
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        raise UserError(f"{file}: is no list of operating points; choose another file")
    return results


def write(file: Path, results: Sequence[Result]) -> None:
    """Write the list, whole or not at all, one entry for each of what `_KEY` tells apart."""
    latest = {tuple(str(row.get(field)) for field in _KEY): row for row in results}
    write_json(file, list(latest.values()))


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all. Of several processes, the first one does."""
    if not is_first():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.new")
    scratch.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(scratch, file)
