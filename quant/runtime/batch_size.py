"""The number of images that a bundle's network runs at once."""

from __future__ import annotations

from math import prod

from golden.bundle import Bundle

__all__ = ["batch_size"]

_LARGEST_TENSOR = 2_000_000
"""Activations of one tensor: 16 MB in float64. Blocks of more than twice that size are requested
from the system anew each time, which takes longer than the computation in them: 1.4 times as long
for AlexNet."""
_MOST = 125


def batch_size(bundle: Bundle) -> int:
    """Return the largest number of images whose tensors are all of a size that is handled well."""
    largest = max(prod(tensor.shape) for tensor in bundle.manifest.activations.values())
    return min(max(_LARGEST_TENSOR // largest, 1), _MOST)
