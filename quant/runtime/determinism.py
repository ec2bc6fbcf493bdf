"""PyTorch's deterministic mode."""

from __future__ import annotations

import os

import torch

__all__ = ["be_deterministic"]


def be_deterministic() -> None:
    """Make PyTorch use only algorithms whose results are the same in every run."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS refuses to work
    torch.use_deterministic_algorithms(True)
    # No code here reads memory that was not written, and filling it would take a fifth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
