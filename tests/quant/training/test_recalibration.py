"""Recalibration brings back the statistics that ZAPs take away, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from golden.bundle import Bundle, check
from golden.layers import Predictor
from golden.network import Network, quantise_images
from golden.pattern import MASKS
from quant.points.operating_points import add_operating_point
from quant.training.recalibration import recalibrate
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.quant.tiny_networks import branches_module, images, tiny_bundle, tiny_module

IMAGES = images(96)
LAYERS = ("conv2", "conv3", "conv4")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    plain = tiny_bundle(tiny_module(), IMAGES)[1]
    sites = [Site(layer, MASKS["D"]) for layer in LAYERS]
    whole = add_zaps(plain, train_zaps(plain, sites, IMAGES, epochs=2, seed=3), IMAGES)
    return add_operating_point(whole, "old", {"conv2": (MASKS["D"], 0.5)})


@pytest.fixture(scope="module")
def predictors(bundle: Bundle) -> dict[str, Predictor]:
    return bundle.uniform(MASKS["D"], 0.6)


def maps(bundle: Bundle, predictors: dict[str, Predictor]) -> dict[str, torch.Tensor]:
    """Return each layer's ofm, before zeros are predicted in it."""
    inputs = quantise_images(bundle, IMAGES.pixels(slice(None)))
    return {
        step.node.name: (step.ofm if step.result is None else step.result.dense).double()
        for step in Network(bundle, predictors).steps(inputs)
    }


def test_without_zaps_not_a_bit_changes(bundle: Bundle) -> None:
    same = recalibrate(bundle, {}, IMAGES)
    for name, tensor in same.tensors.items():
        assert torch.equal(tensor, bundle.tensors[name]), name


def test_a_network_with_concats_is_recalibrated_too() -> None:
    plain = tiny_bundle(branches_module(), IMAGES)[1]
    same = recalibrate(plain, {}, IMAGES)
    assert all(torch.equal(same.tensors[name], plain.tensors[name]) for name in plain.tensors)
    sites = [Site("left", MASKS["D"])]
    bundle = add_zaps(plain, train_zaps(plain, sites, IMAGES, epochs=1, seed=3), IMAGES)
    recalibrated = recalibrate(bundle, bundle.uniform(MASKS["D"], float("inf")), IMAGES)
    check(recalibrated, Path("branches"))
    changed = {
        name.split(".")[1]
        for name in bundle.tensors
        if not torch.equal(recalibrated.tensors[name], bundle.tensors[name])
    }
    assert changed == {"narrow", "wide", "last"}


def test_what_was_lost_comes_back(bundle: Bundle, predictors: dict[str, Predictor]) -> None:
    """Check conv3, which comes after the first ZAP and adds a residual that no ZAP changes."""
    recalibrated = recalibrate(bundle, predictors, IMAGES)
    check(recalibrated, Path("tiny"))
    wanted, lost, found = (
        maps(network, zaps)["conv3"].mean((0, 2, 3))
        for network, zaps in ((bundle, {}), (bundle, predictors), (recalibrated, predictors))
    )
    assert (found - wanted).abs().mean() < 0.3 * (lost - wanted).abs().mean()


def test_what_it_leaves_alone(bundle: Bundle, predictors: dict[str, Predictor]) -> None:
    recalibrated = recalibrate(bundle, predictors, IMAGES)
    assert recalibrated.manifest == bundle.manifest
    changed = {
        name.split(".")[1]
        for name in recalibrated.tensors
        if not torch.equal(recalibrated.tensors[name], bundle.tensors[name])
    }
    assert changed == {"conv3", "conv4"}
    assert torch.equal(
        recalibrated.tensors["layers.conv4.weight"], bundle.tensors["layers.conv4.weight"]
    )
