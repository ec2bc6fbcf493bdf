"""How many images a bundle's network takes at once."""

from __future__ import annotations

from math import prod

from golden.bundle import Bundle

__all__ = ["batch_size"]

_LARGEST_TENSOR = 2_000_000
"""Activations of one tensor: 16 MB in float64. Memory of more than twice that comes from the system
anew each time, which takes longer than what is computed in it: 1.4 times as long for AlexNet."""
_MOST = 125


def batch_size(bundle: Bundle) -> int:
    """So many images that no tensor of the network is too large to be handled well."""
    largest = max(prod(tensor.shape) for tensor in bundle.manifest.activations.values())
    return min(max(_LARGEST_TENSOR // largest, 1), _MOST)
