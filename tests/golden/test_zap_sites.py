"""The layers that can have a ZAP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from golden.bundle import Bundle
from golden.zap_sites import select_zap_sites, zap_sites


@dataclass(frozen=True)
class Convolution:
    name: str
    relu: bool
    fully_connected: bool = False


def test_a_site_ends_in_a_relu_and_is_not_the_first_convolution_nor_fully_connected() -> None:
    convolutions = [
        Convolution("first", relu=True),
        Convolution("second", relu=True),
        Convolution("shortcut", relu=False),
        Convolution("last", relu=True),
        Convolution("hidden", relu=True, fully_connected=True),
        Convolution("logits", relu=False, fully_connected=True),
    ]
    sites = select_zap_sites(convolutions, lambda convolution: convolution.relu)
    assert [site.name for site in sites] == ["second", "last"]
    assert select_zap_sites([], lambda convolution: True) == []


def test_the_sites_of_a_bundle_are_those_that_its_operating_points_use() -> None:
    folder = Path(__file__).parents[2] / "examples" / "bundles" / "vgg16-cifar-quarter"
    manifest = Bundle.load(folder).manifest
    sites = {node.name for node in zap_sites(manifest)}
    used = {name for point in manifest.operating_points for name in point.layers}
    assert used == sites
    assert len(sites) == 12
