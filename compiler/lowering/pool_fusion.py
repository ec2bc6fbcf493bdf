"""Decides which pooling layers run as part of the convolution before them.

The accelerator pools an ofm as it leaves. That is possible where nothing else reads the ofm.
"""

from __future__ import annotations

from golden.manifest import ConvNode, Manifest, PoolNode

__all__ = ["fused_pool"]


def fused_pool(manifest: Manifest, conv: ConvNode) -> PoolNode | None:
    """The pooling that a convolution's ofm passes through as it leaves, or None."""
    readers = [node for node in manifest.layers if conv.output in node.reads]
    alone = len(readers) == 1 and conv.output not in manifest.outputs
    return readers[0] if alone and isinstance(readers[0], PoolNode) else None
