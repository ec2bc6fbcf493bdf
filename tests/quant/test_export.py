"""The command that exports bundles writes the same bytes every time, and refuses bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest
import torch
from PIL import Image

from golden.bundle import MANIFEST, TENSORS, Bundle
from golden.pattern import MASKS
from quant import evaluate as evaluate_command
from quant import export, train
from quant.data.registry import load
from quant.networks.registry import MODELS
from quant.points.evaluation import evaluate
from tests.commands import assert_refused
from tests.quant.tiny_networks import images, randomise_batch_norms

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the weights of a digits network that was never trained."""
    torch.manual_seed(0)
    module = MODELS["digits"].build(10)
    randomise_batch_norms(module)
    file = tmp_path_factory.mktemp("weights") / "digits.pt"
    state = {f"module.{name}": value for name, value in module.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, file)
    return file


@pytest.fixture(autouse=True)
def _own_deterministic_mode() -> Iterator[None]:
    """Turn deterministic algorithms off again, which `export` turns on."""
    yield
    torch.use_deterministic_algorithms(False)


def run_export(monkeypatch: pytest.MonkeyPatch, weights: Path, out: Path, *options: str) -> None:
    quick = ["--zap-epochs", "1", "--zap-images", "64", "--weights", weights, "--out", out]
    arguments = [str(argument) for argument in [*quick, *options]]
    monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
    export.main()


def test_same_seed_same_bytes(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        run_export(monkeypatch, weights, tmp_path / name, "--seed", "7")
    for file in (MANIFEST, TENSORS):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("first", "second"))
        assert first == second


def test_patterns_and_thresholds_per_layer(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--pattern", "4:0100", "conv3=D", "--pattern", "conv4=A", "--also-pattern", "A"]
    run_export(monkeypatch, weights, tmp_path / "out", *options, "--sigma", "0.25", "conv6=-inf")
    bundle = Bundle.load(tmp_path / "out")
    (point,) = bundle.manifest.operating_points
    assert {layer: choice.predictor for layer, choice in point.layers.items()} == {
        "conv2": "conv2.4:0100",
        "conv3": "conv3.D",
        "conv4": "conv4.A",
        "conv5": "conv5.4:0100",
        "conv6": "conv6.4:0100",
    }
    sigmas = [choice.sigma for choice in point.layers.values()]
    assert sigmas == [0.25, 0.25, 0.25, 0.25, float("-inf")]
    assert bundle.uniform(MASKS["A"], 0).keys() == {"conv2", "conv3", "conv4", "conv5", "conv6"}
    assert point.measured is not None
    assert point.measured.images == 360
    result = evaluate(*bundle.at(point.name), load("digits", None).test)
    assert result.top1 == point.measured.top1
    assert result.mac_reduction == point.measured.mac_reduction
    assert result.layers[-1].skipped == 0
    assert bundle.manifest.provenance["model"] == "digits"


def test_mac_reduction_counts_convolutions_alone(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pattern B and everything skipped that can be, half of the MACs is saved.

    The first layer has no ZAP and saves nothing.
    """
    run_export(monkeypatch, weights, tmp_path / "out", "--sigma", "inf")
    bundle = Bundle.load(tmp_path / "out")
    point = bundle.operating_point("default")
    image_set = load("digits", None).test.first(10)
    result = evaluate(*bundle.at(point.name), image_set)
    assert [layer.name for layer in result.layers] == [f"conv{n}" for n in range(1, 7)]
    assert result.mac_reduction_without_first == pytest.approx(0.5)
    first, every = result.layers[0].macs, sum(layer.macs for layer in result.layers)
    assert result.mac_reduction == pytest.approx(0.5 * (every - first) / every)
    assert 0 < result.wrong_share < 1
    dense = evaluate(bundle, {}, image_set)
    assert (dense.mac_reduction, dense.wrong_share) == (0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pattern", "Q"], "unknown pattern 'Q'"),
        (["--pattern", "5:110"], "unknown pattern '5:110'"),
        (["--pattern", "17:" + "1" * 17], "pattern period 17 is outside 1..16"),
        (["--pattern", "3:000"], "must have at least one of 3 bits set"),
        (["--pattern", "conv1=A"], "conv1=A: no ZAP in a layer 'conv1'; there is in conv2, conv3"),
        (["--also-pattern", "E"], "unknown pattern 'E'"),
        (["--sigma", "much"], "sigma 'much' is not a number"),
        (["--sigma", "nan"], "sigma 'nan' is not a number"),
        (["--sigma", "conv3=nan"], "sigma 'nan' is not a number"),
        (["--sigma", "conv9=0.1"], "no ZAP in a layer 'conv9'"),
        (["--weights", "nowhere.pt"], "nowhere.pt: not found"),
        (["--dataset", "cifar10"], "dataset cifar10 needs --data DIR"),
        (["--dataset", "cifar10", "--data", "nowhere"], "nowhere: no such directory"),
        (["--dataset", "cifar10", "--data", "."], "batches.meta: not found"),
        (["--model", "resnet20"], "dataset cifar10 needs --data DIR"),
        (["--model", "resnet18"], "dataset imagenet needs --data DIR"),
        (["--model", "resnet18", "--data", "."], "train: no such directory"),
        (
            ["--model", "resnet20", "--dataset", "digits"],
            "takes images of 3 channels, digits has 1",
        ),
    ],
)
def test_bad_options_are_refused(
    options: list[str | Path],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(export.main, [*options, "--out", "out"], message, monkeypatch, capsys)
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused(export.main, ["--device", "cuda"], "no CUDA device", monkeypatch, capsys)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_no_bundle_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("precious")
    message = f"{tmp_path}: exists and is not a bundle"
    assert_refused(export.main, ["--out", tmp_path], message, monkeypatch, capsys)


def test_a_file_for_zaps_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: list[str | Path] = ["--save-zaps", tmp_path, "--out", tmp_path / "out"]
    message = f"{tmp_path}: exists and is not a file"
    assert_refused(export.main, options, message, monkeypatch, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("conv2.weight", torch.full((16, 16, 3, 3), float("nan")), "conv2.weight: contains NaN"),
        ("bn3.running_var", torch.full((24,), float("inf")), "bn3.running_var: contains NaN or"),
        (
            "fc.weight",
            torch.zeros(10, 3),
            "fc.weight: has shape (10, 3), the model's has (10, 768)",
        ),
        ("fc.weight", torch.zeros(1000, 768), "fc.weight: is for 1000 classes, not for 10"),
        ("fc.bias", torch.zeros(1000), "fc.bias: is for 1000 classes, not for 10"),
        ("fc.bias", torch.tensor(0), "fc.bias: has shape (), the model's has (10,)"),
        ("fc.bias", None, "fc.bias: missing"),
        ("conv9.weight", torch.zeros(1), "conv9.weight: unknown to the model"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    weights: Path,
    name: str,
    value: torch.Tensor | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = torch.load(weights, weights_only=True)["state_dict"]
    state[f"module.{name}"] = value
    if value is None:
        del state[f"module.{name}"]
    file = tmp_path / "changed.pt"
    torch.save(state, file)
    options: list[str | Path] = ["--weights", file, "--out", tmp_path / "out"]
    assert_refused(export.main, options, f"{file}: {message}", monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half a zip file"])
def test_damaged_weights_are_refused(
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "damaged.pt"
    file.write_bytes(content)
    options: list[str | Path] = ["--weights", file, "--out", tmp_path / "out"]
    assert_refused(export.main, options, f"{file}: not a readable", monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == [file]


def test_it_runs_as_a_script_and_ends_with_status_2(tmp_path: Path) -> None:
    script = str(ROOT / "quant" / "export.py")
    command = [sys.executable, script, "--sigma", "much", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: sigma 'much' is not a number\n"
    assert not list(tmp_path.iterdir())


NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes=4):
        super().__init__(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(6 * 4 * 4, num_classes))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a network in net.py and images in images.npz, with and without labels."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    pixels = images(60, (1, 10, 10)).images.numpy()
    np.savez("images.npz", images=pixels, labels=np.arange(60) % 4)
    np.savez("unlabelled.npz", images=pixels)
    for number, picture in enumerate(pixels[:, 0]):
        folder = tmp_path / "folder" / f"class {number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return tmp_path


def run_own(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    arguments = ["--model", "net.py:Net", "--zap-epochs", "1", *options]
    monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
    export.main()


def test_a_network_in_a_file_keeps_its_weights(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_own(monkeypatch, "--dataset", "images.npz", "--std", "1/255", "--test-images", "5")
    bundle = Bundle.load(own / "build" / "net-Net")
    assert bundle.manifest.provenance["model"] == "net.py:Net"
    assert bundle.manifest.input.std == [1 / 255]
    point = bundle.operating_point("default")
    assert point.measured is not None
    assert point.measured.images == 5
    shown = capsys.readouterr()
    assert "weights: those that net.py:Net comes with" in shown.out
    assert "accuracy on 5 test images" in " ".join(shown.out.split())


def test_images_without_labels_give_agreement_and_a_loss_is_said_loudly(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_own(monkeypatch, "--dataset", "unlabelled.npz", "--sigma", "inf", "--out", "lossy")
    shown = capsys.readouterr()
    assert "agreement with the float network" in " ".join(shown.out.split())
    warnings = [line for line in shown.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "--sigma" in warnings[0]
    assert "quant.choose" in warnings[0]
    bundle = Bundle.load(own / "lossy")
    assert bundle.manifest.provenance["labels"] == "classes of the float network"


def test_a_network_in_a_file_is_trained_on_a_folder_of_images(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of quant.train go into the export; evaluate and choose read the folder too."""
    common = ["--model", "net.py:Net", "--dataset", "folder", "--size", "10"]
    monkeypatch.setattr(sys, "argv", ["train", *common, "--epochs", "1", "--out", "net.pt"])
    train.main()
    run_own(monkeypatch, *common, "--weights", "net.pt", "--train")
    bundle = Bundle.load(own / "build" / "net-Net")
    assert bundle.manifest.classes == [f"class {number}" for number in range(4)]
    for dataset in ("folder", "unlabelled.npz"):
        rows = own / "rows.json"
        arguments = ["build/net-Net", "--dataset", dataset, "--json", str(rows)]
        monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
        evaluate_command.main()
        dense, default = json.loads(rows.read_text())["rows"]
        assert (dense["images"], default["images"]) == (12, 12)
        if dataset == "unlabelled.npz":
            assert dense["top1"] == 100


def test_a_network_in_an_onnx_file(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    weights = {"w1": (6, 1, 3, 3), "w2": (6, 6, 3, 3), "fc": (6, 4)}
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 1, H, W] x) => (float[N, 4] y) {
            a = Conv<pads=[1, 1, 1, 1]>(x, w1)  b = Relu(a)  c = Conv(b, w2)  d = Relu(c)
            e = GlobalAveragePool(d)  f = Flatten(e)  y = Gemm(f, fc)
        }"""
    model = onnx.parser.parse_model(text)
    for name, shape in weights.items():
        values = draw.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, "small.onnx")
    run_own(monkeypatch, "--model", "small.onnx", "--dataset", "images.npz")
    bundle = Bundle.load(own / "build" / "small")
    assert bundle.manifest.provenance["model"] == "small.onnx"
    assert len(bundle.operating_point("default").layers) == 1
    capsys.readouterr()
    for command in (export.main, train.main):
        options: list[str | Path] = ["--model", "small.onnx", "--dataset", "images.npz"]
        options += ["--train"] if command is export.main else ["--out", "weights.pt"]
        assert_refused(command, options, "has its weights", monkeypatch, capsys)


def test_an_onnx_file_states_the_size_of_its_images(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures of the folder are 10x10, and the file takes grey ones of 8x6."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 1, 8, 6] x) => (float[1, 4] y) {
            a = Conv(x, w)  b = Relu(a)  c = GlobalAveragePool(b)  y = Flatten(c)
        }"""
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, "stated.onnx")
    run_own(monkeypatch, "--model", "stated.onnx", "--dataset", "folder")
    bundle = Bundle.load(own / "build" / "stated")
    assert bundle.manifest.activations["input"].shape == (1, 8, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "net.py:Net has no dataset of its own: give its images with --dataset"),
        (["--dataset", "nowhere"], "dataset 'nowhere': neither a folder, nor a FILE.npz"),
        (["--dataset", "images.npz", "--size", "8"], "--size is for a folder of images"),
        (["--dataset", "folder", "--size", "8x"], "--size '8x' is not N or HxW in pixels"),
        (["--dataset", "folder", "--data", "."], "--data goes with a built-in dataset"),
        (["--dataset", "images.npz", "--std", "0"], "--std must be positive"),
        (["--dataset", "images.npz", "--std", "1/x"], "--std '1/x' is not a number or a fraction"),
        (
            ["--dataset", "images.npz", "--mean", "0", "0"],
            "--mean has 2 numbers, the network takes",
        ),
        (["--dataset", "images.npz", "--classes", "3"], "has 4 classes, the network has 3"),
        (["--dataset", "unlabelled.npz", "--train"], "unlabelled.npz has no labels to train"),
        (["--dataset", "cifar10"], "dataset cifar10 needs --data DIR"),
        (["--dataset", "digits"], "Net cannot be exported for images of (1, 16, 16)"),
        (["--model", "net.py:Gone"], "net.py: has no Gone; it has Net"),
        (
            ["--model", "digits", "--dataset", "unlabelled.npz"],
            "unlabelled.npz has no labels; give the number of classes with --classes N",
        ),
        (
            ["--model", "resnet20", "--dataset", "folder", "--grey"],
            "--grey: resnet20 takes images of 3 channels",
        ),
    ],
)
def test_options_that_do_not_fit_the_users_network_are_refused(
    options: list[str | Path],
    message: str,
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(export.main, ["--model", "net.py:Net", *options], message, monkeypatch, capsys)
    assert not (own / "build").exists()
