"""Folders of the repository that simulations read and write."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUILDS", "REPOSITORY", "VERILOG"]

REPOSITORY = Path(__file__).resolve().parents[1]

VERILOG = REPOSITORY / "build" / "verilog"
"""Emitted Verilog."""

BUILDS = REPOSITORY / "build" / "sim"
"""Builds of simulators."""
