"""ZAPs learn which activations are positive, and leave the network alone."""

from __future__ import annotations

import pytest
import torch

from golden.bundle import Bundle
from golden.pattern import Pattern
from quant.zap.predictor import Site, Zap
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.quant.tiny_networks import tiny_bundle, tiny_module
from tests.quant.zap.float_and_integer_scores import float_and_integer_scores
from tests.quant.zap.trained_zaps import IMAGES, SITES


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_zaps_learn(bundle: Bundle, zaps: dict[Site, Zap], site: Site) -> None:
    """On new images they are right more often than the more frequent answer is."""
    full = add_zaps(bundle, zaps, IMAGES)
    real, _, positive = float_and_integer_scores(full, site, zaps[site])
    share = float(positive.float().mean())
    assert float(((real > 0.5) == positive).float().mean()) > max(share, 1 - share) + 0.01


def test_a_channel_that_is_always_or_never_zero_is_known_as_such() -> None:
    module = tiny_module()
    with torch.no_grad():
        module.bn2.bias[:4] = 20
        module.bn2.bias[4:] = -20
    bundle = tiny_bundle(module, IMAGES)[1]
    zaps = train_zaps(bundle, SITES[:1], IMAGES, epochs=20, seed=3)
    full = add_zaps(bundle, zaps, IMAGES)
    _, integer, positive = float_and_integer_scores(full, SITES[0], zaps[SITES[0]])
    assert bool(positive[:, :4].all())
    assert not bool(positive[:, 4:].any())
    assert float(integer[:, :4].min()) > 0.7
    assert float(integer[:, 4:].max()) < 0.3


def test_training_leaves_the_network_alone(bundle: Bundle) -> None:
    before = {name: tensor.clone() for name, tensor in bundle.tensors.items()}
    train_zaps(bundle, SITES, IMAGES, epochs=1, seed=0)
    assert before.keys() == bundle.tensors.keys()
    assert all(torch.equal(before[name], bundle.tensors[name]) for name in before)


def test_each_zap_learns_as_if_alone(bundle: Bundle) -> None:
    alone = train_zaps(bundle, SITES[:1], IMAGES, epochs=2, seed=5)[SITES[0]]
    together = train_zaps(bundle, SITES, IMAGES, epochs=2, seed=5)[SITES[0]]
    for name, value in alone.state_dict().items():
        assert torch.equal(value, together.state_dict()[name]), name


def test_a_pattern_that_predicts_nothing_and_a_network_without_sites(bundle: Bundle) -> None:
    assert train_zaps(bundle, [], IMAGES, epochs=1, seed=0) == {}
    site = Site("conv2", Pattern(1, 1))
    zap = train_zaps(bundle, [site], IMAGES, epochs=1, seed=0)[site]
    assert all(bool(value.isfinite().all()) for value in zap.state_dict().values())
