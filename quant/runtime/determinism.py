"""PyTorch's deterministic mode."""

from __future__ import annotations

import os

import torch

__all__ = ["be_deterministic"]


def be_deterministic() -> None:
    """Let PyTorch use no algorithm whose result may differ between two runs."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS refuses to work
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that was not written, and filling it costs a fifth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
