"""Which layers run as one: a pooling that alone reads an ofm happens on that ofm's way out."""

from __future__ import annotations

from golden.manifest import ConvNode, Manifest, PoolNode

__all__ = ["pool_after"]


def pool_after(manifest: Manifest, conv: ConvNode) -> PoolNode | None:
    """The pooling that a convolution's ofm passes through as it leaves the accelerator, if any."""
    readers = [node for node in manifest.layers if conv.output in node.reads]
    alone = len(readers) == 1 and conv.output != manifest.output
    return readers[0] if alone and isinstance(readers[0], PoolNode) else None
