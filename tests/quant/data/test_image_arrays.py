"""Arrays of images become image sets; arrays that are not images are refused and named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.errors import UserError
from quant.data.image_arrays import from_arrays
from quant.data.images import UNLABELLED, ImageSet
from quant.data.registry import Dataset, open_dataset

COUNT = 40
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 8, 6)).astype(np.uint8)
LABELS = np.arange(COUNT) % 4


def written(tmp_path: Path, **arrays: Any) -> str:
    np.savez(tmp_path / "images.npz", **arrays)
    return str(tmp_path / "images.npz")


def rows(dataset: Dataset) -> list[tuple[bytes, int]]:
    """Return all images and labels, in an order that does not depend on the dataset's."""
    found = []
    for part in (dataset.train, dataset.held_out, dataset.test):
        found += [(i.numpy().tobytes(), int(n)) for i, n in zip(part.images, part.labels)]
    return sorted(found)


@pytest.mark.parametrize(
    "images", [IMAGES, IMAGES.transpose(0, 2, 3, 1)], ids=["channels first", "channels last"]
)
def test_a_file_of_images_is_divided_the_same_way_each_time(
    images: np.ndarray, tmp_path: Path
) -> None:
    name = written(tmp_path, images=images, labels=LABELS)
    dataset = open_dataset(name, None).read(3)
    assert (dataset.classes, dataset.shape) == (list("0123"), (3, 8, 6))
    assert (len(dataset.train), len(dataset.held_out), len(dataset.test)) == (26, 6, 8)
    assert rows(dataset) == sorted((i.tobytes(), int(n)) for i, n in zip(IMAGES, LABELS))
    again = open_dataset(name, None).read(3)
    assert torch.equal(again.test.images, dataset.test.images)


def test_grey_images_need_no_channel(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path, images=IMAGES[:, 0]), None).read(1)
    assert dataset.shape == (1, 8, 6)
    assert not dataset.labelled
    assert set(dataset.test.labels.tolist()) == {UNLABELLED}


def test_test_images_and_names_of_classes_are_taken_from_the_file(tmp_path: Path) -> None:
    arrays = {"test_images": IMAGES[:5], "test_labels": LABELS[:5]}
    name = written(tmp_path, images=IMAGES, labels=LABELS, classes=np.array(list("abcd")), **arrays)
    dataset = open_dataset(name, None).read(3)
    assert dataset.classes == list("abcd")
    assert torch.equal(dataset.test.images, torch.from_numpy(IMAGES[:5]))


def test_classes_that_are_numbers_may_be_more_in_the_network() -> None:
    dataset = Dataset("mine", list("012"), *[ImageSet(torch.zeros(1), torch.zeros(1))] * 3)
    assert dataset.classes_for(5) == list("01234")
    with pytest.raises(UserError, match="mine has 3 classes, the network has 2"):
        dataset.classes_for(2)


def test_images_without_labels_get_the_classes_that_a_network_gives() -> None:
    source = from_arrays(IMAGES)
    labelled = source.test.labelled_by(lambda pixels: pixels.mean((2, 3)), 3)
    means = source.test.images.double().mean((2, 3))
    assert torch.equal(labelled.labels, means.argmax(1))
    assert torch.equal(labelled.images, source.test.images)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "has an array pictures; it may have images, labels, classes"),
        ({"labels": LABELS}, "has no array images"),
        ({"images": IMAGES / 255}, "images are float64; give pixels of 0 .. 255 as uint8"),
        ({"images": IMAGES[0, 0]}, "images have shape (8, 6); give"),
        ({"images": IMAGES[:0]}, "images have shape (0, 3, 8, 6); give"),
        ({"images": IMAGES[:5]}, "5 images; give at least 10"),
        ({"images": IMAGES, "labels": LABELS[1:]}, "labels have shape (39,), there are 40 images"),
        ({"images": IMAGES, "labels": LABELS / 2}, "labels are not integers"),
        ({"images": IMAGES, "labels": LABELS - 1}, "label -1 is negative"),
        (
            {"images": IMAGES, "labels": LABELS, "classes": np.array(["a"])},
            "labels reach 3, but there are 1 classes",
        ),
        (
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES},
            "give labels for the test images too",
        ),
        (
            {"images": IMAGES, "test_images": IMAGES[:, :, 1:]},
            "images are (3, 8, 6), test images (3, 7, 6)",
        ),
        ({"images": np.array([{}] * 10)}, "not a readable .npz file of arrays"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    name = written(tmp_path, **arrays)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        open_dataset(name, None)
    assert str(caught.value).startswith(name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.npz").write_bytes(b"no archive")
    for name, message in (
        (str(tmp_path / "no.npz"), "not a readable .npz file"),
        (str(tmp_path / "gone.npz"), "not found"),
        (str(tmp_path / "gone"), "neither a folder, nor a FILE.npz, nor one of cifar10, cifar100"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            open_dataset(name, None)
    name = written(tmp_path, images=IMAGES)
    with pytest.raises(UserError, match="--data goes with a built-in dataset"):
        open_dataset(name, tmp_path)
    with pytest.raises(UserError, match="--size is for a folder of images"):
        open_dataset(name, None, (8, 8))
