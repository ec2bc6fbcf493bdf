"""A small network of this project for the digits, with one convolution of each kind."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Digits"]


class Digits(nn.Module):
    """Six convolutions with BN and ReLU for 1x16x16 digits: 3x3, 5x5 and 1x1, one with stride 2."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(24)
        self.conv4 = nn.Conv2d(24, 24, 5, padding=2, bias=False)
        self.bn4 = nn.BatchNorm2d(24)
        self.conv5 = nn.Conv2d(24, 32, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.conv6 = nn.Conv2d(32, 48, 3, padding=1, bias=False)
        self.bn6 = nn.BatchNorm2d(48)
        self.fc = nn.Linear(48 * 4 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(x)))
        x = F.relu(self.bn5(self.conv5(x)))
        x = F.relu(self.bn6(self.conv6(self.pool(x))))
        return self.fc(torch.flatten(x, 1))
