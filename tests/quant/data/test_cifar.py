"""CIFAR files are read; missing, damaged and malicious ones are refused and named."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.errors import UserError
from quant.data.registry import load


def write(file: Path, content: dict) -> None:
    """Pickle as the official files are: by Python 2, with byte strings for keys."""
    file.parent.mkdir(parents=True, exist_ok=True)
    encoded = {key.encode(): value for key, value in content.items()}
    file.write_bytes(pickle.dumps(encoded, protocol=2))


def batch(count: int, key: str, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (count, 3072)).astype(np.uint8)
    return {"data": data, key: [int(n) for n in rng.integers(0, 10, count)]}


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    write(folder / "batches.meta", {"label_names": [b"class%d" % n for n in range(10)]})
    write(folder / "data_batch_1", batch(5, "labels", 1))
    write(folder / "test_batch", batch(4, "labels", 2))
    return folder


def test_cifar10_takes_the_folder_or_its_parent_and_whatever_batches_there_are(
    cifar10: Path,
) -> None:
    dataset = load("cifar10", cifar10)
    sizes = len(dataset.train), len(dataset.held_out), len(dataset.test)
    assert (sizes, dataset.shape) == ((4, 1, 4), (3, 32, 32))
    assert dataset.classes[3] == "class3"
    assert torch.equal(load("cifar10", cifar10.parent).test.images, dataset.test.images)
    write(cifar10 / "data_batch_2", batch(7, "labels", 3))
    dataset = load("cifar10", cifar10)
    assert len(dataset.train) + len(dataset.held_out) == 12
    expected = batch(4, "labels", 2)
    assert torch.equal(dataset.test.labels, torch.tensor(expected["labels"]))
    assert dataset.test.images[2, 1, 0, 5] == expected["data"][2, 1024 + 5]


def test_cifar100_reads_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    write(folder / "meta", {"fine_label_names": [b"n%d" % n for n in range(100)]})
    write(folder / "train", batch(6, "fine_labels", 1))
    write(folder / "test", batch(3, "fine_labels", 2))
    dataset = load("cifar100", tmp_path)
    assert (len(dataset.train), len(dataset.held_out)) == (5, 1)
    assert (len(dataset.test), len(dataset.classes)) == (3, 100)


@pytest.mark.parametrize("missing", ["batches.meta", "data_batch_1", "test_batch"])
def test_a_missing_file_is_named(cifar10: Path, missing: str) -> None:
    (cifar10 / missing).unlink()
    with pytest.raises(UserError, match=f"{missing}: not found"):
        load("cifar10", cifar10)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such directory"):
        load("cifar10", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"batches\.meta: not found"):
        load("cifar10", tmp_path)
    with pytest.raises(UserError, match="cifar100 needs --data DIR"):
        load("cifar100", None)


def test_damaged_files_are_named(cifar10: Path) -> None:
    whole = (cifar10 / "test_batch").read_bytes()
    (cifar10 / "test_batch").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="test_batch: not a readable CIFAR batch"):
        load("cifar10", cifar10)
    shutil.rmtree(cifar10 / "test_batch", ignore_errors=True)
    write(cifar10 / "test_batch", {"data": np.zeros((2, 9), dtype=np.uint8), "labels": [0, 0]})
    with pytest.raises(UserError, match="test_batch: data is not an array"):
        load("cifar10", cifar10)
    write(cifar10 / "test_batch", {"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [0]})
    with pytest.raises(UserError, match="test_batch: labels does not have one label"):
        load("cifar10", cifar10)
    write(cifar10 / "test_batch", {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]})
    with pytest.raises(UserError, match=r"test_batch: labels leaves 0 \.\. 9"):
        load("cifar10", cifar10)
    write(cifar10 / "batches.meta", {"other": []})
    with pytest.raises(UserError, match=r"batches\.meta: has no label_names"):
        load("cifar10", cifar10)


class Malicious:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pwned",)


def test_a_pickle_that_would_run_something_is_refused(
    cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cifar10)
    write(cifar10 / "test_batch", {"data": Malicious()})
    with pytest.raises(UserError, match=r"test_batch: .* holds a .*\.mkdir"):
        load("cifar10", cifar10)
    assert not (cifar10 / "pwned").exists()
