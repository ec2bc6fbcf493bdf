"""Class folders of images are read; missing and damaged ones are refused and named."""

from __future__ import annotations

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
