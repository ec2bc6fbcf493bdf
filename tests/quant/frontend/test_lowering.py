"""Lowering keeps what a network computes and refuses what it cannot keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from golden.errors import UserError
from quant.frontend.check import check_equal
from quant.frontend.graph import ConvLayer, Graph, PoolLayer
from quant.frontend.lowering import lower, lower_checked
from quant.frontend.operations import Clamp
from quant.frontend.pytorch.nodes import HANDLERS, NodeImport
from quant.networks.registry import MODELS
from tests.quant.tiny_networks import SHAPE, branches_module, randomise_batch_norms, tiny_module


def output(graph: Graph, images: Tensor) -> Tensor:
    results = {layer.name: ofm for layer, ofm in graph.run(images)}
    return results[graph.output].flatten(1)


@pytest.mark.parametrize("name", ["digits", "resnet20", "resnet18-cifar"])
def test_built_in_networks_compute_the_same(name: str) -> None:
    torch.manual_seed(1)
    module = MODELS[name].build(10)
    randomise_batch_norms(module)
    shape = (1, 16, 16) if name == "digits" else (3, 32, 32)
    images = torch.rand(3, *shape)
    with torch.no_grad():
        expected = module.eval()(images)
    torch.testing.assert_close(
        output(lower(module, shape), images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max()
    )


@pytest.mark.parametrize("build", [tiny_module, branches_module])
def test_tiny_networks_compute_the_same(build: Callable[[], nn.Module]) -> None:
    module = build()
    images = torch.rand(3, *SHAPE)
    with torch.no_grad():
        expected = module(images)
    torch.testing.assert_close(output(lower(module, SHAPE), images), expected, rtol=1e-4, atol=1e-4)


def test_zap_sites_follow_the_rule() -> None:
    """Sites end in a ReLU; the first layer, 1x1 shortcuts and linear layers are no sites."""
    sites = [layer.name for layer in lower(tiny_module(), SHAPE).zap_sites()]
    assert sites == ["conv2", "conv3", "conv4"]
    resnet = lower(MODELS["resnet20"].build(10).eval(), (3, 32, 32))
    assert len(resnet.zap_sites()) == 18


@pytest.mark.parametrize(("build", "reader"), [(tiny_module, "hidden"), (branches_module, "fc")])
def test_dropout_is_left_to_the_layer_that_reads(
    build: Callable[[], nn.Module], reader: str
) -> None:
    layers = [layer for layer in lower(build(), SHAPE).layers if isinstance(layer, ConvLayer)]
    assert {layer.name: layer.dropout for layer in layers if layer.dropout} == {reader: 0.5}


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


def conv(
    c_i: int = 3, c_o: int = 4, kernel: int | tuple[int, int] = 3, **options: Any
) -> nn.Conv2d:
    return nn.Conv2d(c_i, c_o, kernel, **options)


def test_relu_passes_max_pooling_and_concat_to_the_convolutions() -> None:
    """It does not pass average pooling, whose sign is not known before."""
    graph = lower(branches_module(), SHAPE)
    clamped = [layer.name for layer in graph.layers if isinstance(layer, ConvLayer) and layer.relu]
    assert clamped == ["stem", "left", "narrow", "wide", "last"]
    assert [layer.name for layer in graph.zap_sites()] == ["left", "narrow", "wide", "last"]
    module = Lambda(lambda p, x: F.relu(F.avg_pool2d(p["c"](x), 2)), c=conv()).eval()
    copied = lower(module, SHAPE).layers[-1]
    assert isinstance(copied, ConvLayer)
    assert copied.relu
    assert copied.groups == 4
    assert torch.equal(copied.weight, torch.ones(4, 1, 1, 1))


def test_layers_that_meet_in_a_concat_have_one_scale() -> None:
    groups = lower(branches_module(), SHAPE).scale_groups()
    assert groups["left"] == groups["stem"]
    assert groups["narrow"] == groups["wide"]
    convolutions = {groups[name] for name in ("stem", "left", "narrow", "wide", "last", "fc")}
    assert len(convolutions) == 4
    averages = groups.keys() - {"stem", "left", "narrow", "wide", "last", "fc"}
    assert len(averages) == 2
    assert all(groups[name] == name for name in averages)
    assert len(set(groups.values())) == 6


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: torch.flatten(x, 1),
        lambda x: x.flatten(start_dim=1),
        lambda x: x.view(-1, 4 * 5),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.view(x.size()[0], x.size(1) * x.size(2) * x.size(3)),
        lambda x: x.reshape(x.shape[0], -1),
        lambda x: torch.reshape(x, (-1, 20)),
    ],
)
def test_reshaping_that_flattens_is_flattening(flatten: Callable[[Tensor], Tensor]) -> None:
    def forward(parts: nn.ModuleDict, x: Tensor) -> Tensor:
        return parts["fc"](F.relu(flatten(parts["c"](x))))

    module = Lambda(forward, c=conv(kernel=(8, 11)), fc=nn.Linear(20, 3)).eval()
    images = torch.rand(2, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(output(lower(module, SHAPE), images), module(images))


def cropped_skip(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    """The step up of a U-Net, whose skip connection is cropped."""
    y = F.relu(parts["a"](x))
    z = F.relu(parts["c"](F.max_pool2d(F.relu(parts["b"](y)), 2)))
    top, left = (y.shape[2] - z.shape[2]) // 2, (y.shape[3] - z.shape[3]) // 2
    return torch.cat([y[:, :, top : top + z.shape[2], left : left + z.shape[3]], z], 1)


def reused_parts(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    """Tensors that are parts of several concats, as in a DenseNet, and twice of one."""
    y = F.relu(parts["a"](x))
    z = torch.cat([y, F.relu(parts["b"](y))], 1)
    return torch.cat([y, F.relu(parts["c"](z)), z, z], 1)


def mixed_signs(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    return torch.cat([F.relu(parts["a"](x)), parts["b"](x)], 1)


def mixed_limits(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    return torch.cat([F.relu6(9 * parts["a"](x)), F.relu(parts["b"](x))], 1)


def flat_sizes(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    return torch.cat([parts["a"](x).flatten(1), parts["b"](x).flatten(1)], 1)


def shuffled(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    first, second = F.relu(parts["a"](x)).chunk(2, 1)
    return torch.cat([parts["b"](second), first[:, 1:]], 1)


def option_a(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    y = F.relu(parts["a"](x))
    shortcut = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 1, 3))
    return F.relu(parts["b"](y) + shortcut)


def normalised_inside(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    return parts["a"]((x - mean) / torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1))


def shared(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    """A sum of two tensors that others read too, and a ReLU behind it."""
    y, z = parts["a"](x), parts["b"](x)
    return torch.cat([F.relu(y + z), F.relu(y), F.relu(z)], 1)


def pre_activation(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    y = parts["a"](x)
    y = y + parts["b"](F.relu(parts["norm"](y)))
    return F.relu(parts["norm2"](y)).mean((2, 3))


def limited_parts(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    y = F.relu(F.relu6(parts["c"](x))[:, :, ::2])
    return F.hardtanh(torch.cat([F.relu(y), y[:, 1:]], 1), 0, 0.5)


def reused(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    y = parts["a"](x)
    for _ in range(3):
        y = F.relu_(parts["b"](y)).add_(y)
    return y


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(conv(c_o=6, groups=3), nn.ReLU(), conv(6, 6, groups=6)),
        nn.Sequential(conv(dilation=2), nn.ReLU6()),
        nn.Sequential(conv(dilation=(2, 1), padding="same")),
        nn.Sequential(nn.BatchNorm2d(3), conv(padding=1)),
        nn.Sequential(conv(), nn.ReLU(), nn.BatchNorm2d(4), conv(4, padding=1)),
        nn.Sequential(conv(), nn.Hardtanh(0, 2), nn.MaxPool2d(3), nn.ReLU()),
        nn.Sequential(nn.ReLU(), conv()),
        nn.Sequential(conv(kernel=1, padding=2), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(960)),
        Lambda(shuffled, a=conv(), b=conv(2, padding=1)),
        Lambda(option_a, a=conv(padding=1), b=conv(4, 8, stride=2, padding=1)),
        Lambda(normalised_inside, a=conv(padding=1)),
        Lambda(shared, a=conv(), b=conv()),
        Lambda(
            pre_activation,
            a=conv(),
            b=conv(4, padding=1),
            norm=nn.BatchNorm2d(4),
            norm2=nn.BatchNorm2d(4),
        ),
        Lambda(mixed_signs, a=conv(), b=conv()),
        Lambda(mixed_limits, a=conv(), b=conv()),
        Lambda(reused, a=conv(), b=conv(4, padding=1)),
        Lambda(lambda p, x: p["c"](x) * 2 + 1, c=conv()),
        Lambda(lambda p, x: 1 - p["c"](x) / 3, c=conv()),
        Lambda(lambda p, x: p["c"](x) + p["c"](x), c=conv()),
        Lambda(lambda p, x: F.avg_pool2d(p["c"](x), 2).relu(), c=conv()),
        Lambda(lambda p, x: p["c"](F.pad(x, (1, 1, 2, 2))), c=conv()),
        Lambda(lambda p, x: p["c"](x)[:, 1:3], c=conv()),
        nn.Sequential(conv(), nn.MaxPool2d(3, ceil_mode=True)),
        nn.Sequential(conv(), nn.MaxPool2d((3, 2), (2, 3), padding=(1, 0), ceil_mode=True)),
        nn.Sequential(conv(kernel=4, padding="same"), nn.ReLU(), conv(4, padding=(5, 0))),
        nn.Sequential(nn.ZeroPad2d((0, 1, 2, 3)), conv(stride=2), nn.ReLU()),
        nn.Sequential(conv(), nn.ZeroPad2d((1, 0, 2, 1)), nn.AvgPool2d(3, 2)),
        nn.Sequential(conv(), nn.ZeroPad2d((1, 4, 2, 3)), nn.AvgPool2d(2)),
        nn.Sequential(conv(), nn.ReLU(), nn.ZeroPad2d((2, 0, 0, 1)), nn.MaxPool2d(3, 2)),
        nn.Sequential(conv(), nn.ReLU(), nn.ZeroPad2d((3, 0, 0, 4)), nn.MaxPool2d(3, 2)),
        nn.Sequential(conv(), nn.ZeroPad2d((1, 0, 0, 1)), nn.MaxPool2d(3, 2)),
        Lambda(lambda p, x: p["c"](F.max_pool2d(x, 2)).clip(0, 1), c=conv()),
        nn.Sequential(conv(), nn.ReLU6(), nn.ChannelShuffle(2), nn.ReLU(), nn.Hardtanh(0, 1)),
        Lambda(limited_parts, c=conv(padding=1)),
        nn.Sequential(conv(kernel=(8, 11)), nn.AvgPool2d((1, 2), ceil_mode=True), nn.ReLU()),
        Lambda(lambda p, x: torch.cat([p["c"](x), x, F.avg_pool2d(x, 1)], 1), c=conv(kernel=1)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_other_networks_compute_the_same(module: nn.Module) -> None:
    torch.manual_seed(2)
    randomise_batch_norms(module)
    lower_checked(module.eval(), torch.randn(3, *SHAPE))


@pytest.mark.second
@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(conv(), nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.ReLU()),
        nn.Sequential(conv(), nn.AvgPool2d(5, 2, 2, count_include_pad=False), conv(4, 2, 1)),
        nn.Sequential(conv(), nn.AvgPool2d((3, 2), 2, (1, 0), ceil_mode=True)),
        nn.Sequential(conv(), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
        nn.Sequential(conv(), nn.AvgPool2d(4, 3, ceil_mode=True), nn.ReLU(), conv(4, kernel=1)),
        nn.Sequential(conv(), nn.AvgPool2d(3, 2, 1, divisor_override=5), nn.ReLU()),
        nn.Sequential(conv(), nn.AvgPool2d(3, 2, 1), nn.ReLU()),
        nn.Sequential(conv(), nn.AdaptiveAvgPool2d((3, 5)), nn.ReLU()),
        nn.Sequential(conv(), nn.AdaptiveMaxPool2d((7, 4)), nn.ReLU()),
        nn.Sequential(conv(), nn.AdaptiveAvgPool2d((12, 1)), nn.ReLU()),
        nn.Sequential(conv(), nn.AdaptiveAvgPool2d((None, 2))),
        nn.Sequential(conv(), nn.Upsample(scale_factor=2), nn.ReLU(), conv(4)),
        nn.Sequential(nn.UpsamplingNearest2d(scale_factor=3), conv(), nn.ReLU()),
        nn.Sequential(conv(), nn.Upsample(scale_factor=(1, 2), mode="nearest-exact")),
        nn.Sequential(conv(), nn.ReLU(), nn.PixelShuffle(2), conv(1)),
        nn.Sequential(conv(), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, 2), nn.BatchNorm2d(6)),
        nn.Sequential(conv(), nn.ConvTranspose2d(4, 6, 2, 2, groups=2), nn.ReLU(), conv(6)),
        nn.Sequential(conv(), nn.ConvTranspose2d(4, 2, 3, 2, 1, 1), nn.BatchNorm2d(2), nn.ReLU()),
        nn.Sequential(conv(), nn.ConvTranspose2d(4, 4, (2, 4), (1, 3), (0, 1), groups=4)),
        nn.Sequential(conv(), nn.ConvTranspose2d(4, 2, 3, bias=False, dilation=2), nn.ReLU6()),
        nn.Sequential(conv(), nn.Threshold(0, 0), nn.BatchNorm2d(4), nn.Dropout2d(), conv(4)),
        nn.Sequential(conv(dilation=(1, 3), kernel=(3, 2)), nn.AlphaDropout(), nn.ReLU()),
        nn.Sequential(conv(), nn.Flatten(), nn.FeatureAlphaDropout(), nn.Linear(360, 4)),
        nn.Sequential(conv(), nn.MaxPool2d(3, 1, 1), nn.MaxPool2d((2, 3), (1, 2), (0, 1))),
        nn.Sequential(nn.MaxPool2d(2), conv(), nn.ReLU()),
        nn.Sequential(conv(), nn.Flatten(), nn.Linear(360, 6), nn.BatchNorm1d(6), nn.ReLU()),
        nn.Sequential(conv(), nn.Flatten(), nn.BatchNorm1d(360), nn.ReLU(), nn.Linear(360, 2)),
        Lambda(lambda p, x: p["c"](x)[:, :, 1:], c=conv()),
        Lambda(lambda p, x: p["c"](x)[:, 1:4:2, 2:9:3, 1:-2], c=conv()),
        Lambda(lambda p, x: F.pad(p["c"](x), (-1, 2, 1, -3, -1, 2)), c=conv()),
        Lambda(lambda p, x: torch.cat([p["c"](x), x], 1), c=conv(kernel=1)),
        Lambda(lambda p, x: p["c"](x).clamp(0, 1).amax((2, 3)), c=conv()),
        Lambda(lambda p, x: p["c"](x).clip(min=0).mean((-1, -2), keepdim=True), c=conv()),
        Lambda(lambda p, x: torch.maximum(p["c"](x), torch.tensor(0.0)), c=conv()),
        Lambda(lambda p, x: F.hardtanh(p["c"](x), 0, 1.5), c=conv()),
        Lambda(lambda p, x: F.dropout2d(F.relu6(p["c"](x)), training=p.training), c=conv()),
        Lambda(lambda p, x: F.max_pool2d(p["c"](x), 3, 2, 1, return_indices=True)[0], c=conv()),
        Lambda(cropped_skip, a=conv(padding=1), b=conv(4), c=nn.ConvTranspose2d(4, 4, 2, 2)),
        Lambda(reused_parts, a=conv(padding=1), b=conv(4, padding=1), c=conv(8, padding=1)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_more_networks_compute_the_same(module: nn.Module) -> None:
    test_other_networks_compute_the_same(module)


def test_a_difference_names_the_first_layer_that_differs() -> None:
    module = nn.Sequential(conv(), nn.ReLU(), conv(4), nn.ReLU(), conv(4)).eval()
    graph = lower(module, SHAPE)
    images = torch.randn(2, *SHAPE)
    check_equal(module, graph, images)
    broken = graph.layer("2")
    assert isinstance(broken, ConvLayer)
    broken.bias[0] += 1
    with pytest.raises(UserError, match=r"^2: the lowered network differs from the module by"):
        check_equal(module, graph, images)


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()])
def test_the_last_operation_may_be_the_hosts(last: nn.Module) -> None:
    module = nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(360, 3), last).eval()
    graph = lower_checked(module, torch.randn(2, *SHAPE))
    assert graph.output == "3"
    names = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
    assert graph.on_host == [names[type(last).__name__]]


def squeeze_and_excite() -> nn.Module:
    def gated(parts: nn.ModuleDict, x: Tensor) -> Tensor:
        return x * torch.sigmoid(parts["gate"](x.mean((2, 3), keepdim=True)))

    return Lambda(gated, gate=conv(4, kernel=1))


def attention() -> nn.Module:
    def attended(parts: nn.ModuleDict, x: Tensor) -> Tensor:
        y = parts["c"](x).flatten(2)
        return F.scaled_dot_product_attention(y, y, y)

    return Lambda(attended, c=conv())


def attention_of_pixels() -> nn.Module:
    """As transformers have it: transposed first, which has no hardware either."""

    def attended(parts: nn.ModuleDict, x: Tensor) -> Tensor:
        y = parts["c"](x).flatten(2).transpose(1, 2)
        return parts["a"](y, y, y)[0]

    return Lambda(attended, c=conv(), a=nn.MultiheadAttention(4, 2, batch_first=True))


ENDS: dict[str, Callable[[Tensor], Any]] = {
    "softmax": lambda x: x.softmax(1),
    "softmax of pixels": lambda x: x.unflatten(1, (3, 1, 1)).softmax(1),
    "log softmax": lambda x: F.log_softmax(x, -1),
    "sigmoid": torch.sigmoid,
    "argmax": lambda x: x.argmax(1),
    "argmax that keeps its axis": lambda x: x.argmax(1, keepdim=True),
    "argmax of a softmax": lambda x: x.softmax(1).argmax(1),
    "logits and what comes of them": lambda x: {"logits": x, "all": [x.softmax(1), x.argmax(1)]},
}


def ends_in(end: Callable[[Tensor], Any]) -> nn.Module:
    layers = nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(360, 3))
    return Lambda(lambda p, x: end(p["layers"](x)), layers=layers).eval()


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(end, marks=[] if end in ("softmax", "argmax") else pytest.mark.second)
        for end in ENDS
    ],
)
def test_what_the_host_computes_is_compared_with_the_module_itself(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, images = ends_in(ENDS[end]), torch.randn(8, *SHAPE)
    graph = lower_checked(module, images)
    last = graph.layer(graph.output)
    assert isinstance(last, ConvLayer)
    last.bias[0] += 10
    with pytest.raises(UserError, match=r"layers\.3: the lowered network differs"):
        check_equal(module, graph, images)
    # A front end that reads the module wrongly cannot be noticed in what it read.
    limited = dict.fromkeys((torch.ops.aten.relu.default,), _limited)
    monkeypatch.setattr("quant.frontend.pytorch.nodes.HANDLERS", HANDLERS | limited)
    with pytest.raises(UserError, match="the lowered network differs from the module"):
        lower_checked(module, images)


def _limited(at: NodeImport, node: fx.Node) -> Clamp:
    return Clamp(**at.common(node, node.args[0]), high=1e-3)


@pytest.mark.parametrize(
    ("end", "other"),
    [
        ("softmax", {"kind": "sigmoid"}),
        ("argmax", {"axes": (0,)}),
        ("argmax", {"keeps_axis": True}),
    ],
)
def test_another_operation_of_the_host_is_a_difference(end: str, other: dict[str, Any]) -> None:
    module, images = ends_in(ENDS[end]), torch.randn(8, *SHAPE)
    graph = lower(module, SHAPE)
    for name, value in other.items():
        setattr(graph.outputs[0].on_host[0], name, value)
    with pytest.raises(UserError, match="the lowered network differs from the module"):
        check_equal(module, graph, images)


def test_a_saturated_sigmoid_hides_no_difference() -> None:
    module, images = ends_in(lambda x: torch.sigmoid(x + 100)), torch.randn(8, *SHAPE)
    graph = lower(module, SHAPE)
    last = graph.layer(graph.output)
    assert isinstance(last, ConvLayer)
    last.bias += 50
    with pytest.raises(UserError, match="the lowered network differs from the module"):
        check_equal(module, graph, images)


def test_every_output_is_lowered_and_compared() -> None:
    """One is read by a layer too, before and after its ReLU; one is returned twice."""

    def several(parts: nn.ModuleDict, x: Tensor) -> dict[str, Any]:
        y = parts["a"](x)
        z = parts["b"](y.relu())
        return {"logits": z.mean((2, 3)), "maps": (y, y.relu(), z), "again": y, "nothing": None}

    module = Lambda(several, a=conv(padding=1), b=conv(4)).eval()
    images = torch.randn(2, *SHAPE)
    graph = lower_checked(module, images)
    shapes = [(4,), (4, *SHAPE[1:]), (4, *SHAPE[1:]), (4, 10, 9), (4, *SHAPE[1:])]
    assert [output.shape for output in graph.outputs] == shapes
    broken = graph.layer(graph.outputs[2].tensor)
    assert isinstance(broken, ConvLayer)
    broken.ceiling = 0.5
    with pytest.raises(UserError, match=f"{broken.name}: the lowered network differs"):
        check_equal(module, graph, images)
    graph.outputs.pop()
    with pytest.raises(UserError, match="the lowered network differs"):
        check_equal(module, graph, images)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(conv(), nn.Sigmoid(), conv(4)), "^1: cannot be lowered: sigmoid can only"),
        (nn.Sequential(nn.Sequential(conv(), nn.GELU())), r"^0\.1: .* gelu: .*; use ReLU"),
        (nn.Sequential(conv(), nn.LeakyReLU()), "^1: .* leaky_relu: .*; use ReLU"),
        (nn.Sequential(conv(), nn.Linear(9, 2)), "^1: cannot be lowered: a linear layer needs"),
        (nn.Sequential(conv(), nn.Threshold(1, 0)), "^1: .* threshold at 0 .* has hardware"),
        (nn.Sequential(conv(), nn.PReLU()), "^1: .* prelu.*: .*; use ReLU"),
        (nn.Sequential(conv(), nn.SiLU()), "^1: .* silu: .*; use ReLU"),
        (nn.Sequential(conv(), nn.Hardswish()), "^1: .* hardswish: .*; use ReLU"),
        (nn.Sequential(conv(), nn.RReLU()), "^1: .* rrelu: .*; use ReLU"),
        (nn.Sequential(conv(), nn.GroupNorm(2, 4)), "^1: .* group_norm: .*; use BatchNorm"),
        (nn.Sequential(conv(), nn.Upsample(scale_factor=1.5)), "^1: .* nearest-neighbour"),
        (nn.Sequential(conv(), nn.Upsample(scale_factor=2, mode="bilinear")), "^1: .* by whole"),
        (nn.Sequential(conv(), nn.Conv2d(4, 4, 1, bias=False), squeeze_and_excite()), "^2: mul: "),
        (attention(), "attention: .* a product of two tensors"),
        (attention_of_pixels(), r"^parts\.a: .* a product of two tensors"),
        (nn.Sequential(conv(), nn.MaxPool2d(2, dilation=2)), "^1: .* dilated pooling"),
        (nn.Sequential(conv(padding=1, padding_mode="reflect")), "^0: .* only padding with zeros"),
        (Lambda(lambda p, x: torch.tanh(p["c"](x)), c=conv()), "tanh: .*; use ReLU"),
        (nn.Sequential(nn.Dropout()), "the network has no layer"),
        (Lambda(lambda p, x: p["c"](x) if x.sum() else x, c=conv()), "Lambda cannot be exported"),
        (Lambda(lambda p, x: p["c"](x), c=conv(7)), "cannot be exported for images of .*: Given"),
        (Lambda(lambda p, x: F.dropout(p["c"](x)), c=conv()), "dropout: .* it drops in eval mode"),
        (Lambda(lambda p, x: p["c"](x).view(1, -1), c=conv()), "view: .* only flattening each"),
        (Lambda(lambda p, x: torch.flatten(p["c"](x)), c=conv()), "flatten: .* only flattening"),
        (Lambda(lambda p, x: torch.add(p["a"](x), p["a"](x), alpha=2), a=conv()), "alpha must be"),
        (Lambda(lambda p, x: (p["c"](x), x), c=conv()), "returns its images: return results of"),
        (Lambda(lambda p, x: [p["c"](x), torch.ones(2)], c=conv()), "does not depend on its"),
        (Lambda(lambda p, x: p["c"](x).argmax(), c=conv()), "argmax: .* each image by itself"),
        (
            Lambda(lambda p, x: p["c"](x) * p["c"](x).mean((2, 3), keepdim=True), c=conv()),
            "mul: .* a product of two tensors",
        ),
        (Lambda(lambda p, x: torch.cat([p["c"](x), p["c"](x)]), c=conv()), "cat: .* only channels"),
        (Lambda(flat_sizes, a=conv(), b=conv(kernel=1)), "cat: .* differ in height or width"),
    ],
)
def test_what_has_no_hardware_is_named(module: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lower(module.eval(), SHAPE)
