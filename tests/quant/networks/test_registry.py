"""The built-in networks have the published shapes and names of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from quant.frontend.graph import ConvLayer, Graph
from quant.frontend.lowering import lower
from quant.networks.registry import MODELS

SMALL, LARGE = (3, 32, 32), (3, 224, 224)


def unbuilt(name: str, classes: int) -> nn.Module:
    """Return a network in eval mode, without memory for its weights."""
    with torch.device("meta"):
        return MODELS[name].build(classes).eval()


def macs(graph: Graph, *, fully_connected: bool) -> int:
    """Count the MACs of all convolutions, or of all fully connected layers."""
    total = 0
    for layer in graph.layers:
        if isinstance(layer, ConvLayer) and layer.fully_connected == fully_connected:
            channels, height, width = graph.shapes[layer.name]
            total += channels * height * width * layer.macs_per_activation
    return total


@pytest.mark.parametrize(
    ("name", "classes", "shape", "parameters", "conv_macs", "sites"),
    [
        # He et al., table 6, gives 0.27, 0.46, 0.66 and 0.85 M parameters; Li et al. (*Pruning
        # Filters for Efficient ConvNets*, table 1) 125 M MACs for ResNet-56, 313 M for VGG-16.
        ("resnet20", 10, SMALL, 0.27e6, 40.6e6, 18),
        ("resnet32", 10, SMALL, 0.46e6, 68.9e6, 30),
        ("resnet44", 10, SMALL, 0.66e6, 97.2e6, 42),
        ("resnet56", 10, SMALL, 0.85e6, 125e6, 54),
        ("vgg16-cifar", 10, SMALL, 14.7e6, 313e6, 12),
        # The ZAP paper, section 4.
        ("alexnet-cifar", 100, SMALL, None, 215.1e6, 4),
        ("resnet18-cifar", 10, SMALL, 11.17e6, 0.555e9, 16),
    ],
)
def test_cifar_networks_have_the_published_size(
    name: str,
    classes: int,
    shape: tuple[int, int, int],
    parameters: float | None,
    conv_macs: float,
    sites: int,
) -> None:
    module = unbuilt(name, classes)
    if parameters is not None:
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(parameters, rel=0.02)
    graph = lower(module, shape)
    assert macs(graph, fully_connected=False) == pytest.approx(conv_macs, rel=0.005)
    assert len(graph.zap_sites()) == sites
    assert graph.shapes[graph.output] == (classes, 1, 1)


@pytest.mark.parametrize(
    ("name", "parameters", "all_macs", "conv_macs", "sites"),
    [
        # Parameters and MACs of all layers as torchvision's documentation has them.
        ("alexnet", 61_100_840, 0.714e9, 655_566_528, 4),
        ("vgg16", 138_357_544, 15.47e9, 15_346_630_656, 12),
        ("resnet18", 11_689_512, 1.814e9, 1_813_561_344, 16),
    ],
)
def test_imagenet_networks_have_the_published_size(
    name: str, parameters: int, all_macs: float, conv_macs: int, sites: int
) -> None:
    module = unbuilt(name, 1000)
    assert sum(p.numel() for p in module.parameters()) == parameters
    graph = lower(module, LARGE)
    assert macs(graph, fully_connected=False) == conv_macs
    everything = conv_macs + macs(graph, fully_connected=True)
    assert everything == pytest.approx(all_macs, rel=0.001)
    assert len(graph.zap_sites()) == sites
    assert graph.shapes[graph.output] == (1000, 1, 1)


def test_narrow_networks_are_the_same_with_fewer_channels() -> None:
    for name, share in (("alexnet-cifar", "half"), ("vgg16-cifar", "quarter")):
        whole, narrow = (lower(unbuilt(n, 10), SMALL) for n in (name, f"{name}-{share}"))
        assert [layer.name for layer in whole.layers] == [layer.name for layer in narrow.layers]
        divisor = {"half": 2, "quarter": 4}[share]
        for layer in whole.layers[:-1]:
            channels, height, width = narrow.shapes[layer.name]
            assert whole.shapes[layer.name] == (divisor * channels, height, width)


def test_state_dicts_are_named_as_torchvision_names_them() -> None:
    bn = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    resnet = ["conv1.weight", *(f"bn1.{part}" for part in bn), "fc.weight", "fc.bias"]
    for stage in range(1, 5):
        for block in range(2):
            path = f"layer{stage}.{block}"
            for number in (1, 2):
                resnet.append(f"{path}.conv{number}.weight")
                resnet += [f"{path}.bn{number}.{part}" for part in bn]
            if stage > 1 and block == 0:
                resnet.append(f"{path}.downsample.0.weight")
                resnet += [f"{path}.downsample.1.{part}" for part in bn]
    features = {
        "alexnet": ((0, 3, 6, 8, 10), (1, 4, 6)),
        "vgg16": ((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (0, 3, 6)),
    }
    wanted = {"resnet18": resnet}
    for name, (convolutions, linears) in features.items():
        paths = [f"features.{n}" for n in convolutions] + [f"classifier.{n}" for n in linears]
        wanted[name] = [f"{path}.{part}" for path in paths for part in ("weight", "bias")]
    for name, names in wanted.items():
        assert sorted(unbuilt(name, 1000).state_dict()) == sorted(names)
