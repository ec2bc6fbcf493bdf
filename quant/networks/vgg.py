"""VGG-16 (Simonyan & Zisserman, configuration D) for ImageNet, and with BatchNorm for CIFAR."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CifarVgg16", "Vgg16"]

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(channels, convolutions) between two poolings."""


class Vgg16(nn.Module):
    """Thirteen 3x3 convolutions without BN and three fully connected layers, for 3x224x224.

    The names in its state dict are those of torchvision's pretrained files.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = _features(width=1, batch_norm=False)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class CifarVgg16(nn.Module):
    """Thirteen 3x3 convolutions, each with BN and ReLU, and one linear layer, for 3x32x32.

    Parameters
    ----------
    classes : int
    width : float
        The share of the published channels that every layer has. 1 is the published network, with
        313.2 M conv MACs.
    """

    def __init__(self, classes: int, width: float = 1) -> None:
        super().__init__()
        self.features = _features(width, batch_norm=True)
        self.classifier = nn.Linear(round(_STAGES[-1][0] * width), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


def _features(width: float, *, batch_norm: bool) -> nn.Sequential:
    """Return the convolutions, with this share of the published channels, and their poolings."""
    layers: list[nn.Module] = []
    c_i = 3
    for channels, convolutions in _STAGES:
        c_o = round(channels * width)
        for _ in range(convolutions):
            layers.append(nn.Conv2d(c_i, c_o, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(c_o))
            layers.append(nn.ReLU(inplace=True))
            c_i = c_o
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
