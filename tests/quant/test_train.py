"""Training a built-in network on the command line: it learns, resumes, and refuses bad options."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from quant import train
from quant.data.registry import load
from quant.networks.registry import MODELS
from quant.training.trainer import Trainer, float_top1
from tests.commands import assert_refused

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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "weights.pt.checkpoint: not found; there is nothing to --resume from"),
        (["--epochs", "0"], "--epochs '0' is not an integer of at least 1"),
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


def test_a_file_for_weights_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    options: list[str | Path] = ["--model", "digits", "--out", tmp_path / "file" / "weights.pt"]
    assert_refused(train.main, options, "cannot be written", monkeypatch, capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_images_of_a_size_that_the_network_does_not_take_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "class").mkdir(parents=True)
        (tmp_path / split / "class" / "never read.JPEG").touch()
    options: list[str | Path] = ["--dataset", "imagenet", "--data", tmp_path]
    options += ["--model", "vgg16-cifar", "--out", tmp_path / "weights.pt"]
    message = "CifarVgg16 cannot be exported for images of (3, 224, 224)"
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
