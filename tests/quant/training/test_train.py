"""Training a built-in network: resume, augmentation and what the command line refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from quant import train
from quant.data.registry import load
from quant.networks.registry import MODELS
from quant.runtime.precision import fastest_precision
from quant.training.augmentation import augment, erase
from quant.training.trainer import Trainer, float_top1
from quant.training.trainer import train as train_network
from tests.quant_cases import RECIPE, assert_refused

MODEL = MODELS["digits"]


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> dict[str, Tensor]:
    arguments = ["--model", "digits", "--epochs", "3", "--out", str(out), *options]
    monkeypatch.setattr("sys.argv", ["train", *arguments])
    train.main()
    return torch.load(out, weights_only=True)["state_dict"]


def test_an_interrupted_training_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(monkeypatch, tmp_path / "whole.pt")

    epoch = Trainer.run_epoch

    def interrupted(training: Trainer, label: str = "") -> None:
        if training.epoch == 2:
            raise KeyboardInterrupt
        epoch(training, label)

    monkeypatch.setattr(Trainer, "run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path / "parts.pt")
    monkeypatch.setattr(Trainer, "run_epoch", epoch)
    assert not (tmp_path / "parts.pt").exists()
    parts = run(monkeypatch, tmp_path / "parts.pt", "--resume")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["parts.pt", "whole.pt"]


def test_training_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = MODEL.build(10)
    module.load_state_dict(run(monkeypatch, tmp_path / "weights.pt"))
    assert float_top1(MODEL, module, load("digits", None).held_out, device="cpu") > 80


def test_training_in_bfloat16_learns_and_keeps_float32_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = run(monkeypatch, tmp_path / "weights.pt", "--precision", "bfloat16")
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}
    plain = run(monkeypatch, tmp_path / "plain.pt", "--precision", "float32")
    assert any(not torch.equal(state[name], plain[name]) for name in state)
    module = MODEL.build(10)
    module.load_state_dict(state)
    assert float_top1(MODEL, module, load("digits", None).held_out, device="cpu") > 80


@pytest.mark.parametrize("units", [True, False])
def test_bfloat16_is_taken_where_the_processor_has_matrix_units_for_it(
    units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": units})
    assert fastest_precision("cpu") == ("bfloat16" if units else "float32")


def test_recipes_that_erase_squares_and_smooth_labels_learn() -> None:
    dataset = load("digits", None)
    torch.manual_seed(1)
    module = MODEL.build(10)
    recipe = replace(MODEL.recipe, epochs=4, erased=2, label_smoothing=0.1)
    train_network(MODEL, module, dataset.train, recipe, seed=1, device="cpu")
    assert float_top1(MODEL, module, dataset.held_out, device="cpu") > 80


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "weights.pt.checkpoint: not found: nothing to --resume from"),
        (["--epochs", "0"], "--epochs 0: must be at least 1"),
        (["--dataset", "cifar10"], "dataset cifar10 needs --data DIR"),
        (["--model", "resnet20"], "the model takes images of 3 channels, digits has 1"),
    ],
)
def test_bad_options_are_refused(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--model", "digits", "--dataset", "digits", "--out", str(tmp_path / "weights.pt")]
    assert_refused(train.main, [*arguments, *options], message, monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == []


def test_images_of_a_size_that_the_network_does_not_take_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "class").mkdir(parents=True)
        (tmp_path / split / "class" / "never read.JPEG").touch()
    options: list[str | Path] = ["--dataset", "imagenet", "--data", tmp_path]
    options += ["--model", "vgg16-cifar", "--out", tmp_path / "weights.pt"]
    message = "CifarVgg16 does not take images of (3, 224, 224)"
    assert_refused(train.main, options, message, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "left by an interrupted training; go on with --resume or remove it"),
        (b"no pickle", ["--resume"], "not a checkpoint of this training"),
        ({"seed": 2}, ["--resume"], "its seed is 2, not 1"),
    ],
)
def test_another_trainings_checkpoint_is_refused(
    content: object,
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = tmp_path / "weights.pt.checkpoint"
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    arguments = ["--model", "digits", "--out", str(tmp_path / "weights.pt"), *options]
    assert_refused(train.main, arguments, message, monkeypatch, capsys)


def test_augmentation_shifts_and_mirrors() -> None:
    recipe = replace(RECIPE, shift=2, flip=True)
    image = torch.rand(1, 3, 6, 5)
    seen = {"plain": 0, "mirrored": 0}
    padded = torch.nn.functional.pad(image, (2,) * 4)
    for seed in range(60):
        result = augment(image, recipe, torch.Generator().manual_seed(seed))
        assert result.shape == image.shape
        crops = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(padded[:, :, y : y + 6, x : x + 5], result)
        ]
        mirrored = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(padded[:, :, y : y + 6, x : x + 5].flip(3), result)
        ]
        assert len(crops) + len(mirrored) == 1
        seen["plain" if crops else "mirrored"] += 1
    assert min(seen.values()) > 15


def test_no_augmentation_changes_nothing() -> None:
    images = torch.rand(4, 1, 6, 5)
    recipe = replace(RECIPE, shift=0, flip=False)
    assert torch.equal(augment(images, recipe, torch.Generator().manual_seed(0)), images)


def test_an_erased_square_may_reach_over_the_edge() -> None:
    images = torch.rand(2, 3, 6, 5) + 1
    erased = erase(images, 3, torch.tensor([[1, 2], [-1, 4]]))
    expected = images.clone()
    expected[0, :, 1:4, 2:5] = 0
    expected[1, :, :2, 4:] = 0
    assert torch.equal(erased, expected)
