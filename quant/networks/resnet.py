"""ResNet-18 (He et al., *Deep Residual Learning*, section 4.1), for ImageNet and for CIFAR."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ResNet18"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, c_i: int, c_o: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_i, c_o, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_o)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_o, c_o, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_o)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or c_i != c_o:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_i, c_o, 1, stride, bias=False), nn.BatchNorm2d(c_o)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    """Four stages of two blocks, 64 to 512 channels, for 3x224x224.

    The names in its state dict are those of torchvision's pretrained files.

    Parameters
    ----------
    classes : int
    small_images : bool
        For 3x32x32: the first convolution is 3x3 with stride 1, without pooling, as is usual for
        CIFAR.
    """

    def __init__(self, classes: int, *, small_images: bool = False) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small_images else (7, 2)
        self.conv1 = nn.Conv2d(3, 64, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_images else nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _stage(64, 64, stride=1)
        self.layer2 = _stage(64, 128, stride=2)
        self.layer3 = _stage(128, 256, stride=2)
        self.layer4 = _stage(256, 512, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(c_i: int, c_o: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(c_i, c_o, stride), BasicBlock(c_o, c_o, 1))
