"""Makes networks with random weights compute as trained ones do."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["settle"]


def settle(network: nn.Module, images: tuple[int, int, int, int]) -> None:
    """Give BatchNorms the statistics of noise of this shape, and put a network into eval mode.

    Without, activations fade from layer to layer, and a deep network gives the same for all images.
    """
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the average of all that it sees
    network.train()
    with torch.no_grad():
        network(torch.randn(images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
