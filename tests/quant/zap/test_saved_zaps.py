"""Saved ZAPs are loaded as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from golden.bundle import Bundle
from golden.pattern import MASKS
from quant.zap.predictor import Site, Zap
from quant.zap.saved_zaps import load_zaps, save_zaps
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


def test_what_is_saved_is_loaded(bundle: Bundle, zaps: dict[Site, Zap], tmp_path: Path) -> None:
    save_zaps(zaps, tmp_path / "zaps.pt")
    loaded = load_zaps(bundle, tmp_path / "zaps.pt")
    assert loaded.keys() == zaps.keys()
    for site, zap in zaps.items():
        state = loaded[site].state_dict()
        assert all(torch.equal(value, state[name]) for name, value in zap.state_dict().items())
        assert not loaded[site].training
