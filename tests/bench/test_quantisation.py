"""The command measures what 8 bits cost the networks of a list."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import quantisation
from golden.bundle import Bundle
from golden.network import Network, quantise_images
from tests.commands import assert_refused
from tests.quant.tiny_networks import images, tiny_bundle, tiny_module

NETWORK = """
import torch
from tests.quant.tiny_networks import tiny_module

def net(classes):
    return tiny_module()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a list of a network in a file and of a bundle; every fourth image has a wrong label."""
    _, bundle = tiny_bundle(tiny_module(), images(64))
    provenance = {"float_top1": 75.0}
    bundle = Bundle(bundle.manifest.model_copy(update={"provenance": provenance}), bundle.tensors)
    bundle.save(tmp_path / "bundle")
    (tmp_path / "net.py").write_text(NETWORK)
    image_set = images(200)
    pixels = image_set.pixels(slice(None))
    labels = Network(bundle)(quantise_images(bundle, pixels)).argmax(1)
    labels = (labels + (torch.arange(200) % 4 == 0)) % 5
    np.savez(tmp_path / "images.npz", images=image_set.images, labels=labels, classes=list("abcde"))
    (tmp_path / "list.txt").write_text(
        "# two networks\n\n"
        "net: --model {data}/net.py:net --dataset {data}/images.npz --mean 0.5 --std 0.3\n"
        "bundle: {data}/bundle --dataset {data}/images.npz\n"
    )
    return tmp_path


def test_networks_and_bundles_are_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    options = ["list.txt", "--data", str(folder), "--test-images", "30", "--json", "int8.json"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["quantisation", *options])
    quantisation.main()
    torch.set_num_threads(threads)
    net, bundle = json.loads((folder / "int8.json").read_text())["rows"]
    assert (net["network"], net["images"], bundle["images"]) == ("net", 30, 30)
    assert net["loss"] == pytest.approx(net["float_top1"] - net["int8_top1"])
    assert 55 < net["float_top1"] < 95
    assert net["agreement"] > 80
    assert 55 < bundle["int8_top1"] < 95
    assert (bundle["float_top1"], bundle["agreement"]) == (75, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "list.txt: not found"),
        ("# none\n", "list.txt: names no network"),
        ("nothing\n", "list.txt: 'nothing': is no NAME: OPTIONS"),
        ("net:\n", "list.txt: net: has no options"),
        ("net: bundle --images 3\n", "unrecognized arguments: --images 3"),
    ],
)
def test_lists_that_name_nothing_are_refused(
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "list.txt"
    if content is not None:
        file.write_text(content)
    assert_refused(quantisation.main, [file], message, monkeypatch, capsys)
