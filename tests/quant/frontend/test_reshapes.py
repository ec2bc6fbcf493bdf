"""Reshapes and transposes of PyTorch modules compute the same when lowered, or are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from golden.errors import UserError
from quant.frontend.imported import import_network
from quant.frontend.lowering import lower_checked
from quant.frontend.passes import simplify

SHAPE = (3, 6, 8)


class Between(nn.Module):
    """Two convolutions, the second in groups, and a function between them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.function = function
        self.second = nn.Conv2d(12, 8, 3, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x).relu()))


def shuffled(groups: int) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        split = x.view(images, groups, channels // groups, height, width)
        return split.transpose(1, 2).contiguous().view(images, -1, height, width)

    return function


def permuted(x: Tensor) -> Tensor:
    return x.unflatten(1, (3, 4)).permute(0, 2, 1, 3, 4).flatten(1, 2)


def shuffled_with_offset(x: Tensor) -> Tensor:
    return shuffled(2)(x - 0.25).relu()


@pytest.mark.parametrize(
    "function", [shuffled(2), shuffled(3), permuted, shuffled_with_offset, nn.ChannelShuffle(4)]
)
def test_channel_shuffles(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(1)
    module = Between(function).eval()
    images = torch.randn(3, *SHAPE)
    network = import_network(module, SHAPE)
    expected = module(images)
    torch.testing.assert_close(network.result(images), expected)
    simplify(network)
    torch.testing.assert_close(network.result(images), expected, rtol=1e-4, atol=1e-4)
    lower_checked(module, images)


def test_axes_of_length_1_can_go_anywhere() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)
            self.fc = nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            pooled = nn.functional.adaptive_avg_pool2d(self.conv(x), 1)
            return self.fc(pooled.permute(0, 2, 3, 1).flatten(1))

    lower_checked(Last().eval(), torch.randn(2, *SHAPE))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.transpose(2, 3),
        lambda x: x.permute(0, 2, 3, 1).reshape(x.shape),
        lambda x: x.unflatten(2, (2, 3)).transpose(2, 3).flatten(2, 3),
        lambda x: x.unflatten(1, (3, 4)).transpose(1, 3).reshape(x.shape),
    ],
)
def test_other_transposes_are_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UserError, match="only a channel shuffle"):
        import_network(Between(function).eval(), SHAPE)


class ShuffleUnit(nn.Module):
    """The basic unit of ShuffleNetV2: half of the channels pass, and all are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        passed, used = self.stem(x).relu().chunk(2, dim=1)
        used = self.last(self.depthwise(self.first(used).relu())).relu()
        return shuffled(2)(torch.cat((passed, used), 1))


def test_a_unit_of_shufflenet_v2() -> None:
    torch.manual_seed(1)
    lower_checked(nn.Sequential(ShuffleUnit(), nn.Conv2d(8, 3, 3)).eval(), torch.randn(3, *SHAPE))


@pytest.mark.parametrize(
    "function", [nn.AdaptiveAvgPool2d(0), nn.AdaptiveMaxPool2d((2, 0)), lambda x: x[:, :, :0]]
)
def test_a_tensor_without_elements_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return function(self.first(x))

    with pytest.raises(UserError, match=r"cannot be lowered: its result has no elements"):
        import_network(Ends().eval(), SHAPE)
