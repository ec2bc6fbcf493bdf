"""Statistics collected without ZAP tell what single layers do with ZAP."""

from __future__ import annotations

import numpy as np
import pytest

from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import Network, quantise_images
from golden.pattern import MASKS, Pattern
from quant.points.statistics import SIGMAS, Statistics, collect_statistics
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.quant.tiny_networks import images, tiny_bundle, tiny_module

IMAGES = images(130)
SITES = [
    Site(layer, pattern)
    for layer in ("conv2", "conv3", "conv4")
    for pattern in (MASKS["A"], MASKS["D"])
]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    plain = tiny_bundle(tiny_module(), IMAGES)[1]
    sites = [*SITES, Site("conv2", Pattern(1, 1))]
    return add_zaps(plain, train_zaps(plain, sites, IMAGES, epochs=5, seed=3), IMAGES)


@pytest.fixture(scope="module")
def statistics(bundle: Bundle) -> Statistics:
    return collect_statistics(bundle, IMAGES)


def test_the_grid_is_what_it_says() -> None:
    assert (SIGMAS[0], SIGMAS[110], SIGMAS[-1], len(SIGMAS)) == (-1, 0.1, 1.5, 251)


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
@pytest.mark.parametrize("index", [0, 90, 100, 117, 150, 250])
def test_a_layer_alone_loses_and_skips_what_its_curve_says(
    bundle: Bundle, statistics: Statistics, site: Site, index: int
) -> None:
    predictor = bundle.predictor(site.name, bundle.threshold(site.name, float(SIGMAS[index])))
    inputs = quantise_images(bundle, IMAGES.pixels(slice(None)))
    steps = Network(bundle, {site.layer: predictor}).steps(inputs)
    result = next(step.result for step in steps if step.node.name == site.layer)
    assert result is not None
    curve = statistics.sites[site]
    assert curve.skipped[index] == pytest.approx(result.counters.skipped / result.ofm.numel())
    error = 1 - int(result.ofm.sum()) / int(result.dense.sum())
    assert curve.error[index] == pytest.approx(error, abs=1e-12)


def test_curves_grow_with_the_threshold(bundle: Bundle, statistics: Statistics) -> None:
    for site in SITES:
        curve = statistics.sites[site]
        predicted = 1 - site.pattern.mask(*bundle.manifest.activations[site.layer].shape[1:]).mean()
        assert (np.diff(curve.error) >= 0).all()
        assert (np.diff(curve.skipped) >= 0).all()
        assert 0 <= curve.skipped[0] < curve.skipped[-1] <= predicted + 1e-12


def test_a_pattern_that_predicts_nothing_skips_nothing(statistics: Statistics) -> None:
    curve = statistics.sites[Site("conv2", Pattern(1, 1))]
    assert not curve.error.any()
    assert not curve.skipped.any()


def test_savings_are_shares_of_all_convolutions(statistics: Statistics) -> None:
    # Of the tiny network, all on 12x11 images; the fully connected layers do not count.
    macs = {
        "conv1": 132 * 6 * 27,
        "conv2": 36 * 8 * 150,
        "down": 36 * 8 * 6,
        "conv3": 36 * 8 * 72,
        "conv4": 9 * 16 * 72,
    }
    assert statistics.macs == macs
    share = macs["conv3"] / sum(macs.values())
    site = Site("conv3", MASKS["D"])
    assert statistics.mac_saving(site) == pytest.approx(statistics.sites[site].skipped * share)


def test_a_bundle_without_predictors_is_refused() -> None:
    plain = tiny_bundle(tiny_module(), IMAGES)[1]
    with pytest.raises(UserError, match="the bundle has no predictors"):
        collect_statistics(plain, IMAGES)
