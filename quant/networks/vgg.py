"""VGG-16 with BatchNorm for CIFAR (Simonyan & Zisserman, configuration D; one linear layer)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CifarVgg16"]

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(channels, convolutions) between two poolings."""


class CifarVgg16(nn.Module):
    """Thirteen 3x3 convolutions, each with BN and ReLU, and one linear layer, for 3x32x32.

    Parameters
    ----------
    classes : int
    width : float
        1 is the published network (313.2 M conv MACs); every layer has this share of its channels.
    """

    def __init__(self, classes: int, width: float = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c_i = 3
        for channels, convolutions in _STAGES:
            c_o = round(channels * width)
            for _ in range(convolutions):
                conv = nn.Conv2d(c_i, c_o, 3, padding=1, bias=False)
                layers += [conv, nn.BatchNorm2d(c_o), nn.ReLU(inplace=True)]
                c_i = c_o
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(c_i, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))
