"""Dynamic feature-map pruning: input channels near zero are neither loaded nor computed with.

Liang et al., *Dynamic Runtime Feature Map Pruning* (arXiv 1812.09922): if every value of an input
feature map is at most epsilon away from zero, the map counts as zero. Its multiply-accumulates are
not executed, and it is not loaded. At epsilon 0 no result changes. For each image, a layer executes
kept activations * k_h * k_w * live channels multiply-accumulates; so pruning can be combined with
any method that decides which activations are kept.

This is what the paper's abstract and its authors' code (MICL-AI/darknet-modified, src/prune.c) say.
Their code has one real epsilon for all layers and clears the maps that convolutions write. This
project chose:

- Epsilon is in integer levels of the 8-bit tensor, as hardware would compare, and so it is relative
  to each tensor's range.
- The convolution's input is pruned, after any pooling. A residual is another read of the tensor and
  is not pruned. Nor is the input of a fully connected layer. Neither is counted in this project.
- Each convolution loads its ifm once, with one load for each activation.
"""

from __future__ import annotations

from torch import Tensor

from golden.layers import ConvResult
from golden.manifest import ConvNode
from golden.network import Network

__all__ = ["FeatureMapPruning", "live_channels", "prune"]


class FeatureMapPruning(Network):
    """A network whose convolutions read pruned feature maps, besides what it skips by itself.

    Parameters
    ----------
    network : Network
        A network with or without ZAP.
    epsilon : int
        Levels that a pruned value may be away from zero.
    """

    def __init__(self, network: Network, epsilon: int) -> None:
        super().__init__(network.bundle, network.predictors)
        self.network = network
        self.epsilon = epsilon

    def convolve(self, node: ConvNode, ifm: Tensor, residual: Tensor | None) -> ConvResult:
        """Run one convolution on its pruned ifm."""
        left = ifm if node.fully_connected else prune(ifm, self.epsilon)
        return self.network.convolve(node, left, residual)


def live_channels(ifm: Tensor, epsilon: int) -> Tensor:
    """Return the loaded channels of (images, channels, height, width): bool (images, channels)."""
    return ifm.abs().amax((2, 3)) > epsilon


def prune(ifm: Tensor, epsilon: int) -> Tensor:
    """Clear the feature maps whose values are all at most epsilon away from zero."""
    return ifm * live_channels(ifm, epsilon)[..., None, None]
