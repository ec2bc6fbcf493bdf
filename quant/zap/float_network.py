"""A bundle's network with ZAPs that are not quantised."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from golden.bundle import Bundle
from golden.layers import ConvResult, mask, skip
from golden.manifest import ConvNode
from golden.network import Network
from golden.pattern import Pattern
from quant.zap.predictor import Zap

__all__ = ["FloatZapNetwork"]


class FloatZapNetwork(Network):
    """A bundle's network whose predictors are not quantised.

    Parameters
    ----------
    bundle : Bundle
    zaps : {layer name: (pattern, Zap in eval mode)}
    sigma : float
        The threshold of all ZAPs, on the real score.
    """

    def __init__(
        self, bundle: Bundle, zaps: Mapping[str, tuple[Pattern, Zap]], sigma: float
    ) -> None:
        super().__init__(bundle)
        self.zaps = zaps
        self.sigma = sigma

    @torch.no_grad()
    def convolve(self, node: ConvNode, ifm: Tensor, residual: Tensor | None) -> ConvResult:
        """Run one convolution; if it has a ZAP, skip by its float score."""
        result = super().convolve(node, ifm, residual)
        if node.name not in self.zaps:
            return result
        pattern, zap = self.zaps[node.name]
        computed = mask(pattern, result.dense)
        partial = result.dense.masked_fill(~computed, 0)
        score = zap(partial.float() * self.bundle.manifest.activations[node.output].scale)
        return skip(result.dense, computed, computed | (score > self.sigma))
