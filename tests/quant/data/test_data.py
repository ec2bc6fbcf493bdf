"""Datasets: what is read, and what is said where it cannot be."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from golden.errors import UserError
from quant.data.images import ImageSet
from quant.data.registry import Dataset, load


def write(file: Path, content: dict) -> None:
    """Pickled as the official files are: by Python 2, with byte strings for keys."""
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


def test_digits_are_the_same_split_every_time() -> None:
    first, second = load("digits", None), load("digits", None)
    sizes = len(first.train), len(first.held_out), len(first.test)
    assert (sizes, first.shape) == ((1150, 287, 360), (1, 16, 16))
    assert first.classes == [str(digit) for digit in range(10)]
    assert torch.equal(first.test.images, second.test.images)
    pixels = first.train.pixels(slice(0, 100))
    assert pixels.dtype == torch.float32
    assert (float(pixels.min()), float(pixels.max())) == (0, 1)


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


CLASSES = ("n01", "n02", "n10")


def paint(file: Path, level: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> None:
    """An image of one colour: `level` of red, 10 of green, 20 of blue."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (level, 10, 20) if mode == "RGB" else level).save(file)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Ten training images and two others of each class, all of a red that tells them apart."""
    for label, name in enumerate(CLASSES):
        for number in range(10):
            paint(tmp_path / "train" / name / f"{name}_{number}.JPEG", 60 * label + 5 * number)
        for number in range(2):
            paint(tmp_path / "val" / name / f"{number}.JPEG", 60 * label + 5 * number)
    return tmp_path


def reds(split: ImageSet) -> list[int]:
    """Of the middle pixels, as far as JPEG keeps them."""
    return (split.images[:, 0, 112, 112].to(torch.float32) / 5).round().int().mul(5).tolist()


def test_class_folders_become_splits_with_labels_in_alphabetical_order(imagenet: Path) -> None:
    dataset = load("imagenet", imagenet)
    assert (dataset.classes, dataset.shape) == (list(CLASSES), (3, 224, 224))
    sizes = len(dataset.train), len(dataset.held_out), len(dataset.test)
    assert sizes == (24, 6, 6)
    for split in (dataset.train, dataset.held_out, dataset.test):
        assert [red // 60 for red in reds(split)] == split.labels.tolist()
        assert len(split.labels.unique()) == 3  # in no order of classes
    assert sorted(reds(dataset.train) + reds(dataset.held_out)) == sorted(
        60 * label + 5 * number for label in range(3) for number in range(10)
    )
    assert reds(load("imagenet", imagenet).train) == reds(dataset.train)


def test_splits_of_files_and_of_tensors_are_one_to_their_users(imagenet: Path) -> None:
    files = load("imagenet", imagenet).train
    tensor = ImageSet(files.images, files.labels)
    index = torch.tensor([5, 2, 2])
    for mine, theirs in (
        (files, tensor),
        (files[index], tensor[index]),
        (files.first(7), tensor.first(7)),
        (files.first(None), tensor.first(None)),
        (files.sample(9, seed=3), tensor.sample(9, seed=3)),
        (files.divided(4)[0], tensor.divided(4)[0]),
        (files.divided(4)[1].first(2), tensor.divided(4)[1].first(2)),
        (files.first(0), tensor.first(0)),
    ):
        assert (len(mine), mine.shape) == (len(theirs), theirs.shape)
        assert torch.equal(mine.images, theirs.images)
        for (pixels, labels), (expected, wanted) in zip(
            mine.batches(3), theirs.batches(3), strict=True
        ):
            assert torch.equal(pixels, expected)
            assert torch.equal(labels, wanted)
    assert torch.equal(files.pixels(index), tensor.images[index] / 255)
    first, last = tensor.divided(4)
    assert torch.equal(torch.cat([first.images, last.images]), tensor.images)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (640, 480), (256, 256), (100, 1000)])
def test_the_middle_of_an_image_is_taken_at_a_common_scale(
    imagenet: Path, size: tuple[int, int]
) -> None:
    """A white square in the middle, a seventh of the shorter side, is as large in all."""
    image = Image.new("RGB", size)
    half = round(min(size) / 14)
    x, y = (side // 2 for side in size)
    image.paste((255, 255, 255), (x - half, y - half, x + half, y + half))
    (imagenet / "val" / "n02" / "1.JPEG").unlink()
    image.save(imagenet / "val" / "n02" / "0.PNG")
    (imagenet / "val" / "n02" / "0.JPEG").unlink()
    test = load("imagenet", imagenet).test
    (pixels,) = test.pixels(test.labels == 1)[:, 0]
    assert int((pixels > 0.5).sum()) == pytest.approx((256 / 7) ** 2, rel=0.1)
    for axis in (0, 1):
        middle = (pixels > 0.5).any(axis).nonzero().double().mean()
        assert float(middle) == pytest.approx(111.5, abs=1)


def test_grey_images_have_three_equal_channels(imagenet: Path) -> None:
    for file in (imagenet / "val").rglob("*.JPEG"):
        paint(file, 100, mode="L")
    images = load("imagenet", imagenet).test.images
    assert images.unique().tolist() == [100]


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: shutil.rmtree(d / "train"), "train: no such directory; --data takes"),
        (lambda d: shutil.rmtree(d / "val"), "val: no such directory; --data takes"),
        (lambda d: shutil.rmtree(d / "val" / "n10"), "val/n10: no such folder; val needs one"),
        (lambda d: (d / "val" / "n11").mkdir(), "val/n11: is for a class that train does not"),
        (lambda d: empty(d / "train"), "train: has no folders"),
        (lambda d: empty(d / "val" / "n02"), "val/n02: has no images (.jpeg, .jpg, .png)"),
    ],
)
def test_class_folders_that_are_missing_or_empty_are_named(
    imagenet: Path, change: Callable[[Path], object], message: str
) -> None:
    change(imagenet)
    with pytest.raises(UserError, match=re.escape(message)):
        load("imagenet", imagenet)
    with pytest.raises(UserError, match="imagenet needs --data DIR"):
        load("imagenet", None)


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_an_unreadable_image_is_named_when_it_is_needed(imagenet: Path, share: float) -> None:
    file = imagenet / "val" / "n10" / "1.JPEG"
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    dataset: Dataset = load("imagenet", imagenet)
    with pytest.raises(UserError, match=r"val/n10/1\.JPEG: not a readable image: "):
        list(dataset.test.batches(4))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + whole)
    with pytest.raises(UserError, match=r"1\.JPEG: not a readable image: "):
        list(dataset.test.batches(4))
