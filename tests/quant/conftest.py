"""Fixtures that several tests of quant share."""

from __future__ import annotations

import pytest

from golden.bundle import Bundle
from golden.pattern import MASKS
from quant.frontend.graph import Graph
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.quant.dead_channels import DEAD, IMAGES, ZAP_LAYERS
from tests.quant.tiny_networks import tiny_bundle, tiny_module


@pytest.fixture(scope="session")
def plain_network() -> tuple[Graph, Bundle]:
    """Return the graph and the bundle of a tiny network without predictors."""
    graph, bundle = tiny_bundle(tiny_module(), IMAGES)
    tensors = dict(bundle.tensors)
    for layer, channels in DEAD.items():
        bias = tensors[f"layers.{layer}.bias"].clone()
        bias[channels] = -(2**28)
        tensors[f"layers.{layer}.bias"] = bias
    return graph, Bundle(bundle.manifest, tensors)


@pytest.fixture(scope="session")
def zap_bundle(plain_network: tuple[Graph, Bundle]) -> Bundle:
    """Return the bundle of the same network with predictors."""
    plain = plain_network[1]
    zaps = train_zaps(plain, [Site(n, MASKS["B"]) for n in ZAP_LAYERS], IMAGES, epochs=2, seed=0)
    return add_zaps(plain, zaps, IMAGES)
