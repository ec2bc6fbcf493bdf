"""Lowering keeps what a network computes and refuses what it cannot keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.errors import UserError
from quant.graph import ConvLayer, Graph, PoolLayer
from quant.lower import lower
from quant.models import MODELS
from quant.networks.cifar_resnet import OptionA
from tests.quant_cases import SHAPE, randomise_batch_norms, tiny_module


def output(graph: Graph, images: Tensor) -> Tensor:
    results = {layer.name: ofm for layer, ofm in graph.run(images)}
    return results[graph.output].flatten(1)


@pytest.mark.parametrize("name", ["digits", "resnet20"])
def test_built_in_networks_compute_the_same(name: str) -> None:
    torch.manual_seed(1)
    module = MODELS[name].build(10)
    randomise_batch_norms(module)
    shape = {"digits": (1, 16, 16), "resnet20": (3, 32, 32)}[name]
    images = torch.rand(3, *shape)
    with torch.no_grad():
        expected = module.eval()(images)
    torch.testing.assert_close(
        output(lower(module, shape), images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max()
    )


def test_tiny_network_computes_the_same() -> None:
    module = tiny_module()
    images = torch.rand(3, *SHAPE)
    with torch.no_grad():
        expected = module(images)
    torch.testing.assert_close(output(lower(module, SHAPE), images), expected, rtol=1e-4, atol=1e-4)


def test_zap_sites_follow_the_rule() -> None:
    """After ReLU and after add + ReLU; not the first, not the 1x1 shortcut, not the linear ones."""
    sites = [layer.name for layer in lower(tiny_module(), SHAPE).zap_sites()]
    assert sites == ["conv2", "conv3", "conv4"]
    resnet = lower(MODELS["resnet20"].build(10).eval(), (3, 32, 32))
    assert len(resnet.zap_sites()) == 18


def test_residual_add_goes_into_the_dearer_convolution_and_is_done_last() -> None:
    graph = lower(tiny_module(), SHAPE)
    names = [layer.name for layer in graph.layers]
    assert names.index("down") < names.index("conv3")
    conv3, conv4 = graph.layer("conv3"), graph.layer("conv4")
    assert isinstance(conv3, ConvLayer)
    assert isinstance(conv4, ConvLayer)
    assert conv3.residual is not None
    assert conv3.residual.input == "down"
    assert graph.signed("down")
    assert conv4.residual is not None
    assert (conv4.residual.input, conv4.residual.stride) == ("conv3", 2)
    assert conv4.residual.channel_offset == 4


def test_modules_used_twice_are_numbered_and_pools_lowered() -> None:
    class Pools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.pool = nn.MaxPool2d(3, 2, padding=1)
            self.average = nn.AvgPool2d(2)
            self.overall = nn.AdaptiveAvgPool2d((1, 2))
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.average(self.pool(self.pool(F.relu(self.conv(x)))))
            return self.fc(self.overall(x).flatten(1))

    module = Pools().eval()
    graph = lower(module, (1, 34, 34))
    pools = [layer.name for layer in graph.layers if isinstance(layer, PoolLayer)]
    assert pools == ["pool", "pool:2", "average", "overall"]
    images = torch.rand(2, 1, 34, 34)
    with torch.no_grad():
        torch.testing.assert_close(output(graph, images), module(images), rtol=1e-4, atol=1e-5)


class Lambda(nn.Module):
    def __init__(self, function, **parts: nn.Module) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.parts, x)


def conv(c_i: int = 3, c_o: int = 4, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(c_i, c_o, kernel, **options)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(conv(), nn.Sigmoid()), "^1: cannot be lowered: Sigmoid"),
        (nn.Sequential(nn.Sequential(conv(), nn.GELU())), r"^0\.1: cannot be lowered: GELU"),
        (nn.Sequential(conv(c_o=6, groups=3)), "^0: cannot be lowered: grouped"),
        (nn.Sequential(conv(dilation=2)), "^0: cannot be lowered: grouped and dilated"),
        (nn.Sequential(nn.BatchNorm2d(3)), "^0: cannot be lowered: BatchNorm must"),
        (nn.Sequential(conv(), nn.ReLU(), nn.BatchNorm2d(4)), "^2: cannot be lowered: BatchNorm"),
        (nn.Sequential(conv(), nn.MaxPool2d(3, ceil_mode=True)), "^1: cannot be lowered: ceil"),
        (nn.Sequential(conv(), nn.AdaptiveAvgPool2d(3)), "10x9 does not divide into 3x3"),
        (nn.Sequential(nn.ReLU()), "^0: cannot be lowered: ReLU must follow"),
        (nn.Sequential(conv(), nn.Linear(9, 2)), "^1: cannot be lowered: a linear layer needs"),
        (nn.Sequential(OptionA(2, 1), conv(5)), "^1: cannot be lowered: an option A shortcut"),
        (Lambda(lambda p, x: torch.tanh(p["c"](x)), c=conv()), "tanh: cannot be lowered"),
        (Lambda(lambda p, x: p["c"](x) + 1, c=conv()), "add: cannot be lowered: its operand is no"),
        (Lambda(lambda p, x: x + x, c=conv()), "add: cannot be lowered: one operand must be"),
        (Lambda(lambda p, x: p["c"](x) if x.sum() else x, c=conv()), "cannot be traced"),
        (Lambda(lambda p, x: p["c"](x), c=conv(7)), "does not take images of"),
    ],
)
def test_what_has_no_hardware_is_named(module: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lower(module.eval(), SHAPE)
