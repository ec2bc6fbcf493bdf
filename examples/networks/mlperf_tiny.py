"""The convolutional networks of MLPerf Tiny (Banbury et al., 2021), with TensorFlow's padding.

    python quant/export.py --model examples/networks/mlperf_tiny.py:resnet8 ...

TensorFlow's `same` padding puts what is odd of it below and on the right, so a convolution with a
stride of 2 on a map of even size pads there alone.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from examples.networks.random_weights import settle

__all__ = ["DSCNN", "MobileNetV1", "ResNet8"]


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's `same` padding."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides = [total // 2, total - total // 2, *sides]
        return super().forward(F.pad(x, sides))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class ResNet8(nn.Module):
    """The network for CIFAR-10; its pixels are 0 .. 255.

    Names are those of the weights that MLPerf Tiny trained, in PyTorch's order of axes.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv0 = SameConv2d(3, 16, 3)
        self.conv1, self.conv2 = SameConv2d(16, 16, 3), SameConv2d(16, 16, 3)
        self.conv3, self.conv4 = SameConv2d(16, 32, 3, 2), SameConv2d(32, 32, 3)
        self.conv5 = SameConv2d(16, 32, 1, 2)
        self.conv6, self.conv7 = SameConv2d(32, 64, 3, 2), SameConv2d(64, 64, 3)
        self.conv8 = SameConv2d(32, 64, 1, 2)
        self.bn0, self.bn1, self.bn2 = _norm(16), _norm(16), _norm(16)
        self.bn3, self.bn4, self.bn5, self.bn6 = _norm(32), _norm(32), _norm(64), _norm(64)
        self.dense = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn0(self.conv0(x)))
        y = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(y)) + x)
        y = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(y)) + self.conv5(x))
        y = F.relu(self.bn5(self.conv6(x)))
        x = F.relu(self.bn6(self.conv7(y)) + self.conv8(x))
        return self.dense(F.avg_pool2d(x, 8).flatten(1))


def _convolution(
    c_i: int, c_o: int, kernel: int | tuple[int, int], stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution and its BatchNorm; the activation is the caller's."""
    same = SameConv2d(c_i, c_o, kernel, stride, groups=groups, bias=False)
    return nn.Sequential(same, _norm(c_o))


class MobileNetV1(nn.Module):
    """MobileNetV1 (Howard et al., 2017) at a quarter of its width, for persons in 96x96 pixels."""

    _BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5,
               (1024, 2), (1024, 1))  # fmt: skip

    def __init__(self, classes: int = 2, width: float = 0.25) -> None:
        super().__init__()
        channels = int(32 * width)
        layers: list[nn.Module] = [_convolution(3, channels, 3, stride=2), nn.ReLU6()]
        for full, stride in self._BLOCKS:
            wide = int(full * width)
            layers += [_convolution(channels, channels, 3, stride=stride, groups=channels)]
            layers += [nn.ReLU6(), _convolution(channels, wide, 1), nn.ReLU6()]
            channels = wide
        self.features = nn.Sequential(*layers)
        self.dense = nn.Linear(channels, classes)
        settle(self, (8, 3, 96, 96))

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.features(x).mean((2, 3))).softmax(1)


class DSCNN(nn.Module):
    """DS-CNN (Zhang et al., *Hello Edge*, 2017) for 12 keywords, on maps of 49x10 coefficients."""

    def __init__(self, classes: int = 12) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(1, 64, (10, 4), stride=2), nn.ReLU()]
        layers += [nn.Dropout(0.2)]
        for _ in range(4):
            layers += [_convolution(64, 64, 3, groups=64), nn.ReLU()]
            layers += [_convolution(64, 64, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.Dropout(0.4), nn.AvgPool2d((25, 5)), nn.Flatten())
        self.dense = nn.Linear(64, classes)
        settle(self, (8, 1, 49, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.features(x)).softmax(1)
