"""Value prediction, a predecessor of ZAP without training: a window is zero if its diagonal is.

Shomron & Weiser, *Spatial Correlation and Value Prediction in Convolutional Neural Networks*
(arXiv 1807.10598, CAL 2019): zeros of an ofm lie together. The ofm is cut into windows of `window`
x `window` activations. The activations on the diagonal of each window are computed. The rest of a
window is predicted zero iff all of these are zero. There are no weights and no threshold. The
window's size trades accuracy for multiply-accumulates, of which at most (window - 1) / window are
saved.

Only the abstract of the paper was available, which leaves the rule open, and no code of its authors
was found. The rule above is how others describe it. This project chose:

- The diagonal is the main one, from the top left, and windows begin at (0, 0).
- Windows that the right and lower edges cut are predicted from the part of their diagonal that lies
  in the map. This part always has at least the window's first activation.
- All layers have the same window size. The layers are those that can have a ZAP.
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
        It needs no predictors.
    window : int
        Height and width of the windows; 1 predicts nothing.
    """

    def __init__(self, bundle: Bundle, window: int) -> None:
        super().__init__(bundle)
        self.window = window
        self.sites = {node.name for node in zap_sites(bundle.manifest)}

    def convolve(self, node: ConvNode, ifm: Tensor, residual: Tensor | None) -> ConvResult:
        """Run one convolution, with value prediction if the layer can have a ZAP."""
        result = super().convolve(node, ifm, residual)
        return predict_zeros(result.dense, self.window) if node.name in self.sites else result


def diagonals(height: int, width: int, window: int) -> Tensor:
    """Return the positions that are computed before prediction: bool (height, width)."""
    return (torch.arange(height) % window).unsqueeze(1) == torch.arange(width) % window


def predict_zeros(dense: Tensor, window: int) -> ConvResult:
    """Return a layer's result with value prediction.

    `dense` is its ofm without prediction, int32 (images, c_o, height, width).
    """
    height, width = dense.shape[2:]
    computed = diagonals(height, width, window)
    partial = dense * computed
    positive = F.max_pool2d(partial.float(), window, window, ceil_mode=True) > 0
    # Each activation is kept if the diagonal of its window is positive.
    rows, cols = torch.arange(height) // window, torch.arange(width) // window
    return skip(dense, computed, computed | positive[:, :, rows.unsqueeze(1), cols])
