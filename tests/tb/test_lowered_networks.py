"""Networks written in many manners run on the simulated core bit for bit as golden runs them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from compiler.build import compile_bundle
from compiler.costs import NetworkCosts
from compiler.lowering.steps import network_steps
from compiler.program import DENSE
from compiler.rewriting.residual_copies import with_residual_copies
from golden.bundle import Bundle, check
from golden.network import Network, quantise_images
from hw.contract.config import Config
from quant.frontend.lowering import lower_checked
from quant.quantise.calibration import activation_scales
from quant.quantise.integer_network import quantise
from tb.exchange.core_files import Run
from tb.runs import core
from tests.hw.small_configs import STRIPS, TINY, WIDE
from tests.quant.tiny_networks import MODEL

_SHAPE = (3, 8, 7)
_IMAGES = 16


class Written(nn.Module):
    """A network whose `forward` is a function of its layers and the images."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.written = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.written(self, x)


def head(pixels: int = 56, channels: int = 4) -> nn.Module:
    """The classifier behind maps of that many pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * pixels, 5))


def conv(
    c_i: int = 3, c_o: int = 4, kernel: int | tuple[int, int] = 3, **options: object
) -> nn.Conv2d:
    return nn.Conv2d(c_i, c_o, kernel, **{"padding": 1, **options})  # type: ignore[arg-type]


def added_in_place(net: Any, x: Tensor) -> Tensor:
    y = net.first(x).relu_()
    kept = y
    y += net.second(y)
    return net.head(F.relu(kept + net.third(y)))


def with_a_default(net: Any, x: Tensor, scale: float = 0.5, bias: Any = None) -> Tensor:
    y = F.relu(net.first(x) * scale)
    return net.head(y if bias is None else y + bias)


def window_from_a_size(net: Any, x: Tensor) -> Tensor:
    y = F.relu(net.first(x))
    y = F.avg_pool2d(y, (y.shape[2], y.size(3)))
    return net.head(y.view(-1, y.size(1)))


def module_made_on_the_way(net: Any, x: Tensor) -> Tensor:
    return net.head(nn.ReLU6(inplace=True)(net.first(x)))


def concatenated(net: Any, x: Tensor) -> Tensor:
    return net.head(F.relu(torch.concat([net.second(x), net.first(x)], dim=1)))


def sliced_shortcut(net: Any, x: Tensor, first: int = 1) -> Tensor:
    y = F.relu(net.first(x))
    channels = net.second.out_channels
    shortcut = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, first, channels - 4 - first))
    return net.head(F.relu(net.second(y) + shortcut))


def concat_as_a_residual(net: Any, x: Tensor) -> Tensor:
    y = torch.cat([F.relu(net.first(x)), F.relu(net.second(x))], 1)
    return net.head(F.relu(net.third(y) + y))


def dead_inside(net: Any, x: Tensor) -> Tensor:
    y = F.relu(net.first(x))
    return net.head(F.relu(net.third(F.relu(net.second(y) - 500)) + y))


def u_net(net: Any, x: Tensor) -> Tensor:
    """Two steps down and up, the second by nearest-neighbour upsampling; skips are concatenated."""
    y = F.relu(net.first(x))
    z = F.relu(net.second(F.max_pool2d(y, 2)))
    deep = F.relu(net.third(F.max_pool2d(z, (2, 1))))
    z = F.relu(net.fourth(torch.cat([z, F.interpolate(deep, scale_factor=(2, 1))], 1)))
    up = F.pad(F.relu(net.up(z)), (0, 1, 0, 0))
    return net.last(torch.cat([y, up], 1))


def several_outputs(net: Any, x: Tensor) -> dict[str, Any]:
    """A class, a map that goes into a pooling too, and a map that the next layer's ReLU limits."""
    y = net.first(x)
    z = F.relu(net.second(F.relu(y)))
    return {"class": net.head(F.max_pool2d(z, 2)), "maps": [z, y]}


def part_of_two_concats(net: Any, x: Tensor) -> Tensor:
    y = F.relu(net.first(x))
    z = torch.cat([y, F.relu(net.second(y))], 1)
    z = torch.cat([z, y, F.relu(net.third(z)), x.clamp(0, 1)], 1)
    return net.head(F.max_pool2d(z, 2))


def cropped(net: Any, x: Tensor) -> Tensor:
    return net.head(F.relu(net.second(F.relu(net.first(x))[:, 1:, 2:7, 1:-1:2])))


def hooked() -> nn.Module:
    net = nn.Sequential(conv(), nn.ReLU(), head())
    net[0].register_forward_hook(lambda module, inputs, output: output - 0.1)
    return net


def pruned() -> nn.Module:
    net = nn.Sequential(conv(), nn.ReLU(), head())
    prune.random_unstructured(net[0], "weight", 0.4)  # type: ignore[no-untyped-call]
    return net


def with_odd_names() -> nn.Module:
    net = nn.Sequential()
    net.add_module("stage 1/a", nn.Sequential(conv(), nn.ReLU()))
    net.add_module("stage 1_a", nn.Sequential(conv(4), nn.ReLU()))
    net.add_module("-", head())
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "an alias changed in place": lambda: Written(
        added_in_place, first=conv(), second=conv(4), third=conv(4), head=head()
    ),
    "arguments with defaults": lambda: Written(with_a_default, first=conv(), head=head()),
    "a window from a tensor's size": lambda: Written(
        window_from_a_size, first=conv(), head=nn.Linear(4, 3)
    ),
    "a module made on the way": lambda: Written(module_made_on_the_way, first=conv(), head=head()),
    "a concat along dim": lambda: Written(
        concatenated, first=conv(), second=conv(kernel=1, padding=0), head=head(channels=8)
    ),
    "a sliced and padded shortcut": lambda: Written(
        sliced_shortcut, first=conv(), second=conv(4, 8, stride=2), head=head(16, 8)
    ),
    "a shortcut that begins with a plane": lambda: Written(
        lambda net, x: sliced_shortcut(net, x, 4),
        first=conv(),
        second=conv(4, 9, stride=2),
        head=head(16, 9),
    ),
    "a residual of parts that fill no plane": lambda: Written(
        concat_as_a_residual,
        first=conv(c_o=3),
        second=conv(c_o=6),
        third=conv(9, 9),
        head=head(channels=9),
    ),
    "a layer that is never active": lambda: Written(
        dead_inside, first=conv(), second=conv(4), third=conv(4), head=head()
    ),
    "a forward hook": hooked,
    "pruned weights": pruned,
    "names that a bundle cannot have": with_odd_names,
    "padding wider than the kernel": lambda: nn.Sequential(
        conv(kernel=2, padding=(5, 3)), nn.ReLU(), nn.MaxPool2d(3), head(20)
    ),
    "same padding of an even kernel": lambda: nn.Sequential(
        conv(kernel=4, padding="same"), nn.ReLU(), conv(4, 4, 2, padding="same"), nn.ReLU(), head()
    ),
    "zeros below and on the right alone": lambda: nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)), conv(stride=2, padding=0), nn.ReLU(), head(12)
    ),
    "rows of nothing but padding": lambda: nn.Sequential(
        nn.ZeroPad2d((0, 3, 9, 14)), conv(padding=0), nn.ReLU(), nn.AvgPool2d(4), head(14)
    ),
    "max pooling beyond the map": lambda: nn.Sequential(
        conv(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.ReLU(), head(12)
    ),
    "clamped activations": lambda: nn.Sequential(
        conv(), nn.Hardtanh(0, 0.4), conv(4), nn.ReLU6(), head()
    ),
    "a U-Net": lambda: Written(
        u_net,
        first=conv(),
        second=conv(4, 9),
        third=conv(9, 6),
        fourth=conv(15, 5),
        up=nn.ConvTranspose2d(5, 6, 2, 2),
        last=conv(10, 3, 1, padding=0),
    ),
    "several outputs": lambda: Written(
        several_outputs, first=conv(), second=conv(4, 5), head=head(12, 5)
    ),
    "a part of two concats": lambda: Written(
        part_of_two_concats, first=conv(), second=conv(4, 5), third=conv(9), head=head(12, 20)
    ),
    "a cropped map": lambda: Written(
        cropped, first=conv(), second=conv(3, 4, padding=(1, 0)), head=head(5)
    ),
    "dilated kernels of one row and of several": lambda: nn.Sequential(
        conv(c_o=20, padding=0, kernel=(1, 3), dilation=(1, 2)),
        nn.ReLU(),
        conv(20, 4, padding=2, dilation=2),
        nn.ReLU(),
        conv(4, 4, (3, 1), padding=(0, 1), dilation=(3, 1)),
        head(10),
    ),
    "averages that do not count padding": lambda: nn.Sequential(
        conv(c_o=5),
        nn.ReLU(),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        conv(5),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.ReLU(),
        head(20),
    ),
    "windows of two sizes": lambda: nn.Sequential(
        conv(),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((3, 4)),
        conv(4),
        nn.AdaptiveMaxPool2d((2, 3)),
        nn.ReLU(),
        head(6),
    ),
    "larger maps": lambda: nn.Sequential(
        conv(c_o=8, stride=2),
        nn.ReLU(),
        nn.PixelShuffle(2),
        nn.ConvTranspose2d(2, 4, 3, 2, 1),
        nn.ReLU(),
        conv(4, 2, stride=2, padding=0),
        nn.Upsample(scale_factor=(1, 3)),
        nn.ReLU(),
        nn.MaxPool2d((1, 3)),
        head(49, 2),
    ),
    "an average at the end": lambda: nn.Sequential(
        conv(), nn.ReLU(), conv(4, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
}


def quantised(name: str) -> tuple[Bundle, Tensor]:
    """The bundle of a network, whose graph was compared with it, and a quantised image."""
    torch.manual_seed(len(name))
    images = MODEL.normalise(torch.rand(_IMAGES, *_SHAPE))
    graph = lower_checked(NETWORKS[name]().eval(), images)
    scales = activation_scales(graph, MODEL, [images])
    classes = [str(number) for number in range(graph.shapes[graph.output][0])]
    bundle = quantise(graph, scales, MODEL, name="written", classes=classes)
    check(bundle, Path("written"))
    return bundle, quantise_images(bundle, torch.rand(1, *_SHAPE))[0]


@pytest.mark.sim
@pytest.mark.second
def test_networks_written_in_many_manners_are_bit_exact() -> None:
    made = {name: quantised(name) for name in NETWORKS}
    for config in (TINY, STRIPS, WIDE):
        runs = [
            Run(program=compile_bundle(bundle, config, keep=True), image=image.numpy(), point=DENSE)
            for bundle, image in made.values()
        ]
        built = core.build(config, "verilator", end=max(run.program.end for run in runs))
        outcomes = core.run(built, runs)
        for (name, (bundle, _)), run, outcome in zip(made.items(), runs, outcomes, strict=True):
            checks = core.check(bundle, run, outcome)
            assert [layer.mismatch for layer in checks] == [None] * len(checks), name


def test_all_outputs_are_kept_and_read() -> None:
    bundle, image = quantised("several outputs")
    manifest = bundle.manifest
    assert [manifest.activations[name].shape[0] for name in manifest.outputs] == [5, 5, 4]
    program = compile_bundle(bundle, TINY)
    assert program.outputs == manifest.outputs
    places = [program.tensors[name] for name in program.outputs]
    spans = sorted((place.address, place.address + place.size) for place in places)
    assert all(end <= first for (_, end), (first, _) in pairwise(spans))
    results = Network(bundle).outputs(image[None])
    assert {name: tuple(ofm.shape[1:]) for name, ofm in results.items()} == {
        name: manifest.activations[name].shape for name in manifest.outputs
    }


def test_a_shortcut_that_begins_within_a_plane_is_copied() -> None:
    bundle, _ = quantised("a sliced and padded shortcut")
    assert len(bundle.manifest.layers) == 4
    shortcuts = [getattr(node, "shortcut", None) for node in bundle.manifest.layers]
    assert [s.channel_offset for s in shortcuts if s is not None] == [0]


@pytest.mark.parametrize(
    ("name", "copy", "copied_for"),
    [
        ("a shortcut that begins with a plane", "second:residual", {WIDE}),
        ("a residual of parts that fill no plane", "third:residual", {TINY, WIDE}),
        ("an alias changed in place", "", set()),
    ],
)
def test_a_residual_that_begins_within_a_group_is_copied_for_the_core(
    name: str, copy: str, copied_for: set[Config]
) -> None:
    bundle, image = quantised(name)
    expected = {step.node.output: step.ofm for step in Network(bundle).steps(image[None])}
    for config in (TINY, WIDE):
        run = with_residual_copies(bundle, config)
        made = {step.node.output: step.ofm for step in Network(run).steps(image[None])}
        assert all(torch.equal(made[tensor], ofm) for tensor, ofm in expected.items())
        copies = [layer for layer in made if layer not in expected]
        assert copies == ([copy] if config in copied_for else [])
        assert (run is bundle) == (not copies)
        program = compile_bundle(bundle, config)
        assert len(program.layers) == len(network_steps(bundle)) + len(copies)
        assert set(NetworkCosts(bundle, config).cycles()) == {
            layer.name for layer in program.layers
        }


def test_names_are_made_acceptable_and_stay_apart() -> None:
    bundle, _ = quantised("names that a bundle cannot have")
    names = [node.name for node in bundle.manifest.layers]
    assert names == ["stage_1_a.0", "stage_1_a.0:2", "_-.1"]
