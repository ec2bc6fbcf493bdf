"""Class folders of images are read; missing and damaged ones are refused and named."""

from __future__ import annotations

import os
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
from quant.data.registry import Dataset, load, open_dataset

CLASSES = ("n01", "n02", "n10")


def paint(file: Path, level: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> None:
    """Write an image of one colour: red is `level`, green 10, blue 20."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (level, 10, 20) if mode == "RGB" else level).save(file)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Write ten training and two test images of each class; their red tells them apart."""
    for label, name in enumerate(CLASSES):
        for number in range(10):
            paint(tmp_path / "train" / name / f"{name}_{number}.JPEG", 60 * label + 5 * number)
        for number in range(2):
            paint(tmp_path / "val" / name / f"{number}.JPEG", 60 * label + 5 * number)
    return tmp_path


def reds(image_set: ImageSet) -> list[int]:
    """Return the red of the middle pixels, as far as JPEG keeps it."""
    return (image_set.images[:, 0, 112, 112].to(torch.float32) / 5).round().int().mul(5).tolist()


def test_class_folders_become_image_sets_with_labels_in_alphabetical_order(imagenet: Path) -> None:
    dataset = load("imagenet", imagenet)
    assert (dataset.classes, dataset.shape) == (list(CLASSES), (3, 224, 224))
    sizes = len(dataset.train), len(dataset.held_out), len(dataset.test)
    assert sizes == (24, 6, 6)
    for image_set in (dataset.train, dataset.held_out, dataset.test):
        assert [red // 60 for red in reds(image_set)] == image_set.labels.tolist()
        assert len(image_set.labels.unique()) == 3  # in no order of classes
    assert sorted(reds(dataset.train) + reds(dataset.held_out)) == sorted(
        60 * label + 5 * number for label in range(3) for number in range(10)
    )
    assert reds(load("imagenet", imagenet).train) == reds(dataset.train)


def test_image_sets_of_files_and_of_tensors_behave_alike(imagenet: Path) -> None:
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
    """A white square in the middle, a seventh of the shorter side, has the same size in all."""
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


def opened(folder: Path, size: tuple[int, int] | None = None, channels: int = 3) -> Dataset:
    return open_dataset(str(folder), None, size).read(channels)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Write ten images of 40x30 for each of three classes, without train and val."""
    for label, name in enumerate(CLASSES):
        for number in range(10):
            paint(tmp_path / name / f"{number}.png", 60 * label + 5 * number)
    return tmp_path


def keep_one(folders: Path) -> None:
    """Leave one image in each class folder."""
    for name in CLASSES:
        empty(folders / name)
        paint(folders / name / "0.png", 1)


def test_class_folders_alone_are_divided_the_same_way_each_time(folders: Path) -> None:
    dataset = opened(folders)
    assert (dataset.name, dataset.classes) == (str(folders), list(CLASSES))
    assert dataset.shape == (3, 30, 40)
    assert (len(dataset.train), len(dataset.held_out), len(dataset.test)) == (20, 4, 6)
    parts = (dataset.train, dataset.held_out, dataset.test)
    found = sorted(int(red) for part in parts for red in part.images[:, 0, 0, 0])
    assert found == sorted(60 * label + 5 * number for label in range(3) for number in range(10))
    for part in parts:
        assert (part.images[:, 0, 0, 0] // 60).tolist() == part.labels.tolist()
    assert torch.equal(opened(folders).test.images, dataset.test.images)


def test_train_and_val_of_any_size(imagenet: Path) -> None:
    dataset = opened(imagenet, (12, 20))
    assert dataset.shape == (3, 12, 20)
    assert (len(dataset.train), len(dataset.held_out), len(dataset.test)) == (24, 6, 6)


def test_classes_that_are_numbers_are_in_the_order_of_numbers(folders: Path) -> None:
    for name, number in zip(CLASSES, ("9", "10", "0")):
        (folders / name).rename(folders / number)
    assert opened(folders).classes == ["0", "9", "10"]


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    for number in range(20):
        paint(tmp_path / f"{number}.bmp", number)
    dataset = opened(tmp_path)
    assert (dataset.classes, dataset.labelled, len(dataset.test)) == ([], False, 4)


def test_grey_images_are_read_for_a_network_of_one_channel(folders: Path) -> None:
    dataset = opened(folders, channels=1)
    assert dataset.shape == (1, 30, 40)
    red, grey = opened(folders).test.images[:, 0], dataset.test.images[:, 0]
    expected = (0.299 * red + 0.587 * 10 + 0.114 * 20).round()
    assert (grey - expected).abs().max() <= 1


def test_images_are_scaled_to_cover_the_size(tmp_path: Path) -> None:
    """A white half stays a half, whatever the sides are."""
    for number, size in enumerate([(80, 40), (40, 80), (16, 16), (33, 47), (20, 10)] * 2):
        image = Image.new("RGB", size)
        image.paste((255, 255, 255), (0, 0, size[0] // 2, size[1]))
        image.save(tmp_path / f"{number}.png")
    dataset = opened(tmp_path, (10, 20))
    images = torch.cat([part.images for part in (dataset.train, dataset.held_out, dataset.test)])
    assert images.shape == (10, 3, 10, 20)
    assert (images[:, :, :, :8] > 200).all()
    assert (images[:, :, :, 12:] < 50).all()


@pytest.mark.parametrize(
    ("change", "channels", "message"),
    [
        (lambda d: paint(d / "n01" / "x.png", 1, (9, 7)), 3, "is 7x9, "),
        (lambda d: (d / "n01" / "x.png").write_bytes(b"x"), 3, "x.png: not a readable image"),
        (lambda d: empty(d / "n01"), 3, "n01: has no images (.jpeg, .jpg, .png, .bmp"),
        (keep_one, 3, "has 3 images"),
        (lambda d: empty(d), 3, "has no images (.jpeg"),
        (lambda d: None, 4, "1 or 3 channels, the network takes 4; give the images as a FILE.npz"),
    ],
)
def test_other_folders_are_refused(
    folders: Path, change: Callable[[Path], object], channels: int, message: str
) -> None:
    change(folders)
    with pytest.raises(UserError, match=re.escape(message)):
        opened(folders, channels=channels)


def test_images_of_more_than_8_bits_are_refused(tmp_path: Path) -> None:
    for number in range(10):
        Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match="more than 8 bits a pixel"):
        _ = opened(tmp_path, channels=1).test.images


def test_an_image_whose_sides_differ_too_much_is_refused_before_it_is_scaled(
    tmp_path: Path,
) -> None:
    """Scaled to 224 rows, one of 1x60000 would have 13 million columns."""
    for number in range(10):
        size = (60_000, 1) if number == 3 else (4, 4)
        Image.new("L", size).save(tmp_path / f"{number}.png")
    dataset = opened(tmp_path, (224, 224))
    with pytest.raises(UserError, match=r"3\.png: is 1x60000, which is too long.* 224x13440000"):
        _ = [part.images for part in (dataset.train, dataset.held_out, dataset.test)]


def test_a_pipe_among_images_is_refused_at_once(tmp_path: Path) -> None:
    for number in range(10):
        Image.new("L", (4, 4)).save(tmp_path / f"{number}.png")
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"x\.png: not readable: it is no regular file"):
        opened(tmp_path)
