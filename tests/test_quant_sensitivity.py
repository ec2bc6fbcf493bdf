"""What a layer's error is found to cost is what running it costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.bundle import Bundle
from golden.network import Network, quantise_images
from golden.pattern import MASKS
from quant.curves import SIGMAS, Statistics, collect
from quant.sensitivity import weigh
from quant.zap import Site, train_zaps
from quant.zap_quantise import add_zaps
from tests.quant_cases import images, tiny_bundle, tiny_module

IMAGES = images(120)
LAYERS = ["conv2", "conv3", "conv4"]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    bundle = tiny_bundle(tiny_module(), IMAGES)[1]
    sites = [Site(layer, MASKS["B"]) for layer in LAYERS]
    return add_zaps(bundle, train_zaps(bundle, sites, IMAGES, epochs=5, seed=3), IMAGES)


@pytest.fixture(scope="module")
def statistics(bundle: Bundle) -> Statistics:
    return collect(bundle, IMAGES)


def divergence(bundle: Bundle, layer: str, sigma: float) -> float:
    """Image by image, of the probabilities with one layer's ZAP from those without."""
    inputs = quantise_images(bundle, IMAGES.pixels(slice(None)))
    scale = bundle.manifest.activations[bundle.manifest.output].scale
    name = f"{layer}.B"
    predictors = {layer: bundle.predictor(name, bundle.threshold(name, sigma))}
    p = torch.softmax(Network(bundle)(inputs).double() * scale, 1)
    q = torch.softmax(Network(bundle, predictors)(inputs).double() * scale, 1)
    return float((p * (p / q).log()).sum(1).mean())


def test_weights_are_divergence_per_eps(bundle: Bundle, statistics: Statistics) -> None:
    weighed = weigh(bundle, statistics, IMAGES)
    assert weighed.curves is statistics.curves
    assert list(weighed.weights) == LAYERS
    costs = []
    for layer in LAYERS:
        error = statistics.curves[Site(layer, MASKS["B"])].error
        nearest = int(np.abs(error - 0.05).argmin())
        costs.append(divergence(bundle, layer, float(SIGMAS[nearest])) / error[nearest])
    expected = np.maximum(np.array(costs) / np.mean(costs), 0.05)
    assert list(weighed.weights.values()) == pytest.approx(list(expected), rel=1e-3)
    assert np.ptp(expected) > 0.1


def test_a_site_costs_its_eps_times_its_layers_weight(
    bundle: Bundle, statistics: Statistics
) -> None:
    weighed = weigh(bundle, statistics, IMAGES.first(40))
    for site, curve in statistics.curves.items():
        assert statistics.cost(site) == pytest.approx(curve.error)
        assert weighed.cost(site) == pytest.approx(curve.error * weighed.weights[site.layer])
