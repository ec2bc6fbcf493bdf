"""Dynamic feature-map pruning: input channels that hold next to nothing are neither loaded nor run.

Liang et al., *Dynamic Runtime Feature Map Pruning* (arXiv 1812.09922): where every value of an
input feature map is within epsilon of zero, epsilon included, the map counts as zero, its
multiply-accumulates are not executed and it is not loaded. At epsilon 0 no result changes. What
remains of a layer is, image by image, its kept activations * k_h * k_w * live channels; so it
composes with whatever decides which activations are kept.

So much say the paper's abstract and its authors' code (MICL-AI/darknet-modified, src/prune.c). That
has one real epsilon for all layers and clears the maps that convolutions write. Chosen here:

- Epsilon is in integer levels of the 8-bit tensor, as hardware would compare, and so relative to
  each tensor's range.
- It is the convolution's input that is pruned, after any pooling. A residual added to its sums is
  another read of the tensor and stays whole, and so does what a fully connected layer reads: this
  project counts neither.
- Each convolution loads its ifm once, one load for each activation.
"""

from __future__ import annotations

from torch import Tensor

from golden.layers import ConvResult
from golden.manifest import ConvNode
from golden.network import Network

__all__ = ["FeatureMapPruning", "live_channels", "prune"]


class FeatureMapPruning(Network):
    """A network, whatever it skips by itself, whose convolutions read pruned feature maps.

    Parameters
    ----------
    network : Network
        With or without ZAP.
    epsilon : int
        Levels that a pruned value may be away from zero.
    """

    def __init__(self, network: Network, epsilon: int) -> None:
        super().__init__(network.bundle, network.predictors)
        self.network = network
        self.epsilon = epsilon

    def convolve(self, node: ConvNode, ifm: Tensor, residual: Tensor | None) -> ConvResult:
        """Run one convolution on what is left of its ifm."""
        left = ifm if node.fully_connected else prune(ifm, self.epsilon)
        return self.network.convolve(node, left, residual)


def live_channels(ifm: Tensor, epsilon: int) -> Tensor:
    """Which channels of (images, channels, height, width) are loaded: bool (images, channels)."""
    return ifm.abs().amax((2, 3)) > epsilon


def prune(ifm: Tensor, epsilon: int) -> Tensor:
    """The feature maps with those within epsilon of zero cleared."""
    return ifm * live_channels(ifm, epsilon)[..., None, None]
