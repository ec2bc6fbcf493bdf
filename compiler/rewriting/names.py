"""Names for the tensors and layers that a rewrite adds to a network."""

from __future__ import annotations

from collections.abc import Container

__all__ = ["new_name"]


def new_name(name: str, taken: Container[str]) -> str:
    """Return a name, with as many underscores behind it as make it new."""
    while name in taken:
        name += "_"
    return name
