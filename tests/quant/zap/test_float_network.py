"""Float ZAPs decide as their module says."""

from __future__ import annotations

import pytest
import torch

from golden.bundle import Bundle
from golden.network import Network, quantise_images
from golden.pattern import MASKS
from quant.zap.float_network import FloatZapNetwork
from quant.zap.predictor import Site, Zap
from quant.zap.training import train_zaps
from tests.quant.tiny_networks import images, tiny_bundle, tiny_module

IMAGES = images(64)
SITE = Site("conv3", MASKS["B"])


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle(tiny_module(), IMAGES)[1]


@pytest.fixture(scope="module")
def zaps(bundle: Bundle) -> dict[Site, Zap]:
    return train_zaps(bundle, [SITE, Site("conv3", MASKS["D"])], IMAGES, epochs=5, seed=0)


def test_a_float_zap_skips_what_its_score_says(bundle: Bundle, zaps: dict[Site, Zap]) -> None:
    inputs = quantise_images(bundle, IMAGES.pixels(slice(0, 8)))
    dense = next(s.ofm for s in Network(bundle).steps(inputs) if s.node.name == "conv3")
    computed = torch.from_numpy(SITE.pattern.mask(*dense.shape[2:]))
    scale = bundle.manifest.activations["conv3"].scale
    with torch.no_grad():
        score = zaps[SITE](dense * computed * scale)
    sigma = float(score[..., ~computed].median())
    keep = computed | (score > sigma)
    network = FloatZapNetwork(bundle, {"conv3": (SITE.pattern, zaps[SITE])}, sigma)
    step = next(step for step in network.steps(inputs) if step.node.name == "conv3")
    assert torch.equal(step.ofm, dense * keep)
    assert step.result is not None
    assert step.result.counters.skipped == int((~keep).sum())
    assert step.result.counters.kept > 0
