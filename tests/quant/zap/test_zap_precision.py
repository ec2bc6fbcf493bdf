"""Float ZAPs decide as their module says, and quantised ones nearly as they do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golden.bundle import Bundle
from golden.network import Network, quantise_images
from golden.pattern import MASKS
from quant import zap_precision
from quant.data.registry import load
from quant.frontend.lowering import lower
from quant.networks.registry import MODELS
from quant.quantise.calibration import activation_scales
from quant.quantise.integer_network import quantise
from quant.training.trainer import train
from quant.zap.float_network import FloatZapNetwork
from quant.zap.predictor import Site, Zap
from quant.zap.saved_zaps import load_zaps, save_zaps
from quant.zap.training import train_zaps
from tests.quant_cases import assert_refused, images, tiny_bundle, tiny_module

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


def test_the_command_compares_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, digits = MODELS["digits"], load("digits", None)
    torch.manual_seed(0)
    module = model.build(10)
    train(model, module, digits.train, replace(model.recipe, epochs=3), seed=0, device="cpu")
    graph = lower(module, digits.shape)
    few = digits.train.first(200)
    scales = activation_scales(graph, model, [model.normalise(few.pixels(slice(None)))])
    bundle = quantise(graph, scales, model, name="digits", classes=digits.classes)
    sites = [Site(layer.name, MASKS["B"]) for layer in graph.zap_sites()]
    save_zaps(train_zaps(bundle, sites, digits.train, epochs=4, seed=0), tmp_path / "zaps.pt")
    bundle.save(tmp_path / "bundle")
    arguments = [tmp_path / "bundle", "--zaps", tmp_path / "zaps.pt", "--json", tmp_path / "j"]
    options = ["--sigma", "0.2", "--bits", "8", "2"]
    monkeypatch.setattr("sys.argv", ["zap_precision", *map(str, arguments), *options])
    zap_precision.main()
    exact, eight, two = json.loads((tmp_path / "j").read_text())["rows"]
    assert [row["bits"] for row in (exact, eight, two)] == ["float", "8", "2"]
    assert exact["mac_reduction"] > 0.02
    coarse, fine = (abs(row["mac_reduction"] - exact["mac_reduction"]) for row in (two, eight))
    assert fine < coarse / 2


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "zaps.pt: not found; quant/export.py --save-zaps writes it"),
        (b"no pickle", [], "zaps.pt: holds no ZAPs of this network"),
        ({"other.B": {}}, [], "zaps.pt: holds no ZAPs of this network: 'other'"),
        ({}, ["--pattern", "C"], "zaps.pt: has no ZAPs for pattern C"),
    ],
)
def test_other_files_are_refused(
    content: object,
    options: list[str],
    message: str,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle.save(tmp_path / "bundle")
    file = tmp_path / "zaps.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    arguments = [str(tmp_path / "bundle"), "--zaps", str(file), *options]
    assert_refused(zap_precision.main, arguments, message, monkeypatch, capsys)
