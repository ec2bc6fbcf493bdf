"""The bundles of networks that are simulated whole: found, made, or refused with a remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from golden.bundle import Bundle
from golden.errors import UserError
from tb.paths import REPOSITORY
from tb.runs.whole_networks import NETWORKS, find_network, network_of_bundle

TRAINING = ("quant.training", "quant.zap", "quant.untrained", "quant.export", "quant.train")


def test_simulating_a_network_imports_no_training_code_and_no_command() -> None:
    code = "import sys, tb.sim_core, tb.sim_full; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "tb.runs.whole_networks" in loaded
    assert [name for name in loaded if name.startswith(TRAINING)] == []


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(UserError, match="no network 'lenet'; there are digits, resnet20, "):
        find_network("lenet")


def test_a_bundle_is_a_network_at_one_of_its_operating_points(tmp_path: Path) -> None:
    folder = Path("examples/bundles/alexnet-cifar-half")
    name, network = network_of_bundle(folder, None)
    bundle, point = network.load()
    assert (name, point) == (bundle.manifest.name, bundle.manifest.operating_points[0].name)
    _, other = network_of_bundle(folder, "max-drop-1")
    assert other.load()[1] == "max-drop-1"
    with pytest.raises(UserError, match=f"{folder}: no operating point 'none'; it has: .*max-drop"):
        network_of_bundle(folder, "none")
    bare = Bundle(
        bundle.manifest.model_copy(update={"operating_points": [], "predictors": {}}),
        {name: tensor for name, tensor in bundle.tensors.items() if name.startswith("layers.")},
    )
    bare.save(tmp_path / "bare")
    with pytest.raises(UserError, match="it has no operating point; choose some with"):
        network_of_bundle(tmp_path / "bare", None)


def test_a_network_that_is_trained_in_seconds_is_not_replaced_by_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"make it with python quant/export\.py --model digits"):
        NETWORKS["digits"].load()


def test_the_error_of_the_command_that_makes_a_bundle_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "build" / "resnet20-untrained"
    folder.mkdir(parents=True)
    (folder / "mine").write_text("precious")
    with pytest.raises(UserError) as caught:
        NETWORKS["resnet20"].load()
    message = str(caught.value)
    assert message.startswith(f"quant.untrained --model resnet20: {folder}: ")
    assert "\n" not in message
    assert (folder / "mine").read_text() == "precious"


@pytest.mark.second
def test_a_missing_bundle_is_made_once_and_its_progress_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle, point = NETWORKS["resnet20"].load()
    assert bundle.operating_point(point).layers
    assert capfd.readouterr().err
    again, _ = NETWORKS["resnet20"].load()
    assert again.manifest == bundle.manifest
    assert not capfd.readouterr().err
