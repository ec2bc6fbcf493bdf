"""A tiny network and its predictors, trained once for all tests of this package."""

from __future__ import annotations

import pytest

from golden.bundle import Bundle
from quant.zap.predictor import Site, Zap
from quant.zap.training import train_zaps
from tests.quant.tiny_networks import tiny_bundle, tiny_module
from tests.quant.zap.trained_zaps import IMAGES, SITES


@pytest.fixture(scope="package")
def bundle() -> Bundle:
    return tiny_bundle(tiny_module(), IMAGES)[1]


@pytest.fixture(scope="package")
def zaps(bundle: Bundle) -> dict[Site, Zap]:
    return train_zaps(bundle, SITES, IMAGES, epochs=20, seed=3)
