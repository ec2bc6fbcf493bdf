"""Value prediction, the untrained ancestor of ZAP: a window is zero if its diagonal is.

Shomron & Weiser, *Spatial Correlation and Value Prediction in Convolutional Neural Networks*
(arXiv 1807.10598, CAL 2019): zeros of an ofm lie together. The ofm is cut into windows of `window`
x `window` activations, those on the diagonal of each window are computed, and the rest of a window
is predicted zero iff all of them are zero. There are no weights and no threshold; the window's size
trades accuracy for multiply-accumulates, of which at most (window - 1) / window are saved.

Of the paper only the abstract was at hand, which leaves the rule open, and no code of its authors
was found: the rule above is how others describe it. Chosen here:

- The diagonal is the main one, from the top left, and windows begin at (0, 0).
- Windows that the right and lower edges cut are windows too, predicted from what the map has of
  their diagonal. The main diagonal leaves each at least its first activation.
- One window size for all layers, and the layers are those that can have a ZAP (`sites`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from golden.bundle import Bundle
from golden.layers import ConvResult, skip
from golden.manifest import ConvNode
from golden.network import Network
from golden.zap_sites import zap_sites

__all__ = ["ValuePrediction", "diagonals", "predict_zeros"]


class ValuePrediction(Network):
    """A bundle's network with value prediction in the place of its ZAPs.

    Parameters
    ----------
    bundle : Bundle
        Needs no predictors.
    window : int
        Height and width of the windows; 1 predicts nothing.
    """

    def __init__(self, bundle: Bundle, window: int) -> None:
        super().__init__(bundle)
        self.window = window
        self.sites = {node.name for node in zap_sites(bundle.manifest)}

    def convolve(self, node: ConvNode, ifm: Tensor, residual: Tensor | None) -> ConvResult:
        """Run one convolution, with value prediction where a ZAP could be."""
        result = super().convolve(node, ifm, residual)
        return predict_zeros(result.dense, self.window) if node.name in self.sites else result


def diagonals(height: int, width: int, window: int) -> Tensor:
    """What is computed before prediction: bool (height, width)."""
    return (torch.arange(height) % window).unsqueeze(1) == torch.arange(width) % window


def predict_zeros(dense: Tensor, window: int) -> ConvResult:
    """A layer's result with value prediction, from its ofm int32 (images, c_o, height, width)."""
    height, width = dense.shape[2:]
    computed = diagonals(height, width, window)
    partial = dense * computed
    positive = F.max_pool2d(partial.float(), window, window, ceil_mode=True) > 0
    # What each activation's window says.
    rows, cols = torch.arange(height) // window, torch.arange(width) // window
    return skip(dense, computed, computed | positive[:, :, rows.unsqueeze(1), cols])
