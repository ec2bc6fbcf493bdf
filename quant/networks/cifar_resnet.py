"""The ResNets for CIFAR (He et al., *Deep Residual Learning*, section 4.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CifarResNet", "OptionA"]


class OptionA(nn.Module):
    """The shortcut of He et al. (section 4.2) without parameters: subsample, add zero channels.

    Parameters
    ----------
    stride : int
        Every stride-th pixel is taken in both directions, from (0, 0).
    channel_offset : int
        Number of zero channels before the tensor's own channels, and as many after.
    """

    def __init__(self, stride: int, channel_offset: int) -> None:
        super().__init__()
        self.stride = stride
        self.channel_offset = channel_offset

    def forward(self, x: Tensor) -> Tensor:
        picked = x[:, :, :: self.stride, :: self.stride]
        return F.pad(picked, (0, 0, 0, 0, self.channel_offset, self.channel_offset))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, option A where the shape changes (He et al., 2015)."""

    def __init__(self, c_i: int, c_o: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_i, c_o, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_o)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(c_o, c_o, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_o)
        same = stride == 1 and c_i == c_o
        self.shortcut = nn.Identity() if same else OptionA(stride, (c_o - c_i) // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """A ResNet of He et al. (section 4.2) for 3x32x32, with 6 * blocks + 2 layers.

    The names in its state dict are those of Yerlan Idelbayev's pretrained files.
    """

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.flatten(self.pool(x)))


def _stage(c_i: int, c_o: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(c_i, c_o, stride)
    return nn.Sequential(first, *(BasicBlock(c_o, c_o, 1) for _ in range(blocks - 1)))
