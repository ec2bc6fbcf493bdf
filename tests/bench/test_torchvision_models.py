"""torchvision's classifiers are lowered and compared, where that package is installed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from bench import torchvision_models
from bench.torchvision_models import classifiers, lowered
from tests.commands import assert_refused

NETWORKS = ["googlenet", "mobilenet_v2", "regnet_x_400mf", "shufflenet_v2_x0_5", "squeezenet1_1"]
REFUSED = {
    "convnext_tiny": "features.0.1",
    "efficientnet_b0": "features.0.2: cannot be lowered: silu: .*; use ReLU",
    "mobilenet_v3_small": "features.0.2: cannot be lowered: hardswish: .*; use ReLU",
    "regnet_y_400mf": "se: mul: cannot be lowered: a product of two tensors",
}


@pytest.mark.second
def test_classifiers_without_gates_are_equal_to_their_modules() -> None:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed: pip install --no-deps torchvision==0.29.1")
    models = classifiers()
    for result in lowered(models, NETWORKS):
        assert not result.refusal, result
        assert result.layers > 30
    for result in lowered(models, list(REFUSED)):
        assert not result.layers
        assert re.search(REFUSED[result.name], result.refusal)


def test_a_folder_without_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("torchvision is installed")
    message = "no package torchvision: pip install --no-deps --target DIR torchvision==0.29.1"
    options: list[str | Path] = ["--torchvision", tmp_path]
    assert_refused(torchvision_models.main, options, message, monkeypatch, capsys)
