"""The steps of a network as the core runs them: convolutions, each with the pooling behind it."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import torch

from compiler.lowering.pool_fusion import fused_pool
from golden.bundle import Bundle
from golden.layers import Conv, Pool
from golden.manifest import ConvNode, PoolNode

__all__ = ["Step", "network_steps"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A convolution with the pooling behind it, in terms of tensors.

    Parameters
    ----------
    name : str
        Name of the convolution's layer, or of the pooling's where that runs by itself.
    conv : Conv
    pool : Pool or None
    input, residual, output : str
        Names of tensors; `residual` is empty where nothing is added.
    macs : int
        Multiply-accumulates without skips, padding included; 0 for a pooling by itself.
    """

    name: str
    conv: Conv
    pool: Pool | None
    input: str
    residual: str
    output: str
    macs: int


def network_steps(bundle: Bundle, apart: Container[str] = ()) -> list[Step]:
    """The steps of a bundle, in order.

    `apart` are convolutions whose pooling is a step by itself, although it could run with them. A
    concatenation takes no step, because its parts are written side by side, nor does a reshaping.
    """
    manifest = bundle.manifest
    steps = []
    fused = set()
    for node in manifest.layers:
        if isinstance(node, ConvNode):
            pool = None if node.name in apart else fused_pool(manifest, node)
            if pool is not None:
                fused.add(pool.name)
            conv = bundle.conv(node)
            steps.append(
                Step(
                    name=node.name,
                    conv=conv,
                    pool=None if pool is None else bundle.pool(pool),
                    input=node.input,
                    residual="" if node.shortcut is None else node.shortcut.input,
                    output=node.output if pool is None else pool.output,
                    macs=conv.macs(*manifest.activations[node.input].shape[1:]),
                )
            )
        elif isinstance(node, PoolNode) and node.name not in fused:
            steps.append(
                Step(
                    name=node.name,
                    conv=_identity(bundle, node),
                    pool=bundle.pool(node),
                    input=node.input,
                    residual="",
                    output=node.output,
                    macs=0,
                )
            )
    return steps


def _identity(bundle: Bundle, node: PoolNode) -> Conv:
    """A depthwise convolution that hands its ifm on, for a pooling that runs by itself."""
    ifm = bundle.manifest.activations[node.input]
    channels = ifm.shape[0]
    return Conv(
        name=node.name,
        weight=torch.ones(channels, 1, 1, 1, dtype=torch.int8),
        bias=torch.zeros(channels, dtype=torch.int32),
        multiplier=torch.full((channels,), 1 << 15, dtype=torch.int32),
        shift=torch.full((channels,), 15, dtype=torch.int32),
        groups=channels,
        signed_output=ifm.signed,
    )
