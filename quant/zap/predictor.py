"""The zero-activation predictor (ZAP) as a PyTorch module, and the place where it is used."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from golden.pattern import Pattern

__all__ = ["Site", "Zap"]


class Zap(nn.Module):
    """Scores the activations of one layer: DWConv3x3, BN, ReLU, DWConv3x3, BN, per channel.

    The paper's convolutions have a bias, these have none. BN takes a bias out again, so its
    gradient is rounding noise, which Adam enlarges to full steps. Where a channel's variance is
    nearly zero, the running mean cannot follow that walk, and the score in use is far from the
    score in training.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _depthwise(channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _depthwise(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, partial: Tensor) -> Tensor:
        """Score a partial ofm (images, channels, height, width); scores are real, not clamped."""
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(partial)))))


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


@dataclass(frozen=True)
class Site:
    """A layer, and the pattern that a predictor of its ofm works with."""

    layer: str
    pattern: Pattern

    @property
    def name(self) -> str:
        """The predictor's name in a bundle."""
        return f"{self.layer}.{self.pattern}"
