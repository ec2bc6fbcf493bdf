"""Rewrites a bundle into the network that the core runs, which gives the same numbers."""

from __future__ import annotations

from compiler.rewriting.early_poolings import with_early_poolings
from compiler.rewriting.residual_copies import with_residual_copies
from golden.bundle import Bundle
from hw.contract.config import Config

__all__ = ["as_the_core_runs_it"]


def as_the_core_runs_it(bundle: Bundle, config: Config) -> Bundle:
    """Return the network whose layers a program has; the bundle itself where they are the same."""
    return with_residual_copies(with_early_poolings(bundle), config)
