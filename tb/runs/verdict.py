"""The last lines of a simulation command: how much was compared with golden, and what differs."""

from __future__ import annotations

from collections.abc import Sequence

from golden.terminal import Console
from tb.runs.core import LayerCheck
from tb.runs.engine import Check

__all__ = ["print_verdict"]


def print_verdict(checks: Sequence[Check | LayerCheck], console: Console) -> int:
    """Print how many activations were compared and the first difference; return the exit status."""
    compared = sum(check.compared for check in checks)
    differ = sum(check.differ for check in checks)
    mismatches = [check.mismatch for check in checks if check.mismatch is not None]
    if mismatches:
        console.print(f"first difference: {mismatches[0]}", highlight=False, soft_wrap=True)
    console.print(f"{compared} activations compared, {differ} differ", highlight=False)
    return 1 if mismatches else 0
