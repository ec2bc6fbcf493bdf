"""Bundles of networks that nobody trained."""

from __future__ import annotations

import pytest

from golden.bundle import Bundle
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


def test_a_network_that_takes_no_photographs_is_refused() -> None:
    with pytest.raises(UserError, match="digits is trained in seconds"):
        untrained_bundle("digits", seed=1)
