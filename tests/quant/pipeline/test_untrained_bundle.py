"""Bundles of networks that nobody trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden.bundle import Bundle, check
from golden.errors import UserError
from golden.network import Network, quantise_images
from quant.data.registry import load
from quant.pipeline.untrained_bundle import untrained_bundle


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return untrained_bundle("resnet20", seed=1)


def test_the_same_seed_gives_the_same_bundle(bundle: Bundle) -> None:
    again = untrained_bundle("resnet20", seed=1)
    assert again.manifest == bundle.manifest
    assert all(again.tensors[name].equal(tensor) for name, tensor in bundle.tensors.items())


def test_predictors_skip_some_activations_of_their_layers_and_keep_some(bundle: Bundle) -> None:
    pixels = load("textures-32", None).test.pixels(slice(0, 1))
    network, predictors = bundle.at("default")
    steps = Network(network, predictors).steps(quantise_images(bundle, pixels))
    counters = [step.result.counters for step in steps if step.predictor and step.result]
    assert len(counters) == 18
    assert all(c.skipped > 0 for c in counters)
    assert all(c.kept > 0 for c in counters)


NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""


def test_a_network_in_a_file_needs_the_shape_of_its_images(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    name = f"{tmp_path / 'net.py'}:Net"
    bundle = untrained_bundle(name, 1, shape=(1, 12, 9), classes=7)
    check(bundle, tmp_path)
    assert bundle.manifest.name == "net-Net"
    assert bundle.manifest.activations["input"].shape == (1, 12, 9)
    assert len(bundle.manifest.classes) == 7
    assert list(bundle.operating_point("default").layers) == ["2"]
    with pytest.raises(UserError, match="give the shape of its images with --shape"):
        untrained_bundle(name, 1, classes=7)
