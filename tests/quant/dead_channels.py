"""A tiny network with channels that are always zero, and runs of it."""

from __future__ import annotations

import torch
from torch import Tensor

from golden.bundle import Bundle
from golden.layers import ConvResult
from golden.manifest import ConvNode
from golden.network import Network, Step, quantise_images
from tests.quant.tiny_networks import images

IMAGES = images(40)
ZAP_LAYERS = ["conv2", "conv3", "conv4"]
DEAD = {"conv1": [0, 3], "conv2": [5], "conv4": [1, 2, 9]}


def inputs(bundle: Bundle) -> Tensor:
    return quantise_images(bundle, IMAGES.pixels(slice(None)))


def conv_steps(network: Network) -> list[tuple[Step, ConvNode, ConvResult]]:
    """Run a network; return its convolutions, fully connected layers included."""
    return [
        (step, step.node, step.result)
        for step in network.steps(inputs(network.bundle))
        if isinstance(step.node, ConvNode) and step.result is not None
    ]


def assert_equal_bits(one: Network, other: Network) -> None:
    for a, b in zip(one.steps(inputs(one.bundle)), other.steps(inputs(one.bundle)), strict=True):
        assert torch.equal(a.ofm, b.ofm), a.node.name
