"""Images in files: ImageNet, and any folder of images of the user.

Class folders lie in train and val (`train/CLASS/*.JPEG` and `val/CLASS/*.JPEG`), or directly in the
folder. A folder of images without class folders has no labels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from golden.errors import UserError
from quant.data.images import UNLABELLED, DatasetSource, ImageSet

__all__ = ["ImageFiles", "ImageFolder", "ImageForm", "imagenet"]

_SUFFIXES = (".jpeg", ".jpg", ".png")
_MORE_SUFFIXES = (*_SUFFIXES, ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
_ORDER_SEED = 2020
_TEST_SHARE = 5
"""Where a folder has no val, one of so many images is a test image."""
_FEWEST = 10
_MOST_PIXELS = 1 << 26
"""A scaled image has no more pixels before its middle is taken."""


@dataclass(frozen=True)
class ImageForm:
    """The form that images get when they are decoded.

    Images are scaled without distortion, and the middle is taken.

    Parameters
    ----------
    channels : 1 or 3
        Grey or colour.
    height, width : int
    shorter_side : int, optional
        The shorter side of the scaled image. By default, the image is scaled so that it just covers
        the height and the width; one that has them already stays as it is.
    """

    channels: int
    height: int
    width: int
    shorter_side: int | None = None

    def scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) that an image of `size`, (width, height), is scaled to."""
        width, height = size
        if self.shorter_side is not None:
            shorter = min(size)
            return width * self.shorter_side // shorter, height * self.shorter_side // shorter
        if self.width * height >= self.height * width:
            return self.width, max(round(height * self.width / width), self.height)
        return max(round(width * self.height / height), self.width), self.height


_IMAGENET = ImageForm(3, 224, 224, shorter_side=256)
"""The form that torchvision's pretrained networks expect."""


class ImageFiles:
    """Images in files, (n, channels, height, width). A file is decoded each time it is read."""

    def __init__(self, files: Sequence[str], form: ImageForm) -> None:
        self.files = files
        self.form = form

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.files), self.form.channels, self.form.height, self.form.width

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Read images as uint8. Raises UserError that names a file that is not a readable image."""
        images = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        files = [self.files[number] for number in index.tolist()]
        with ThreadPoolExecutor() as pool:  # Pillow decodes without holding Python's lock
            for number, image in enumerate(pool.map(partial(_decode, form=self.form), files)):
                images[number] = image
        return images


def imagenet(directory: Path | None) -> DatasetSource:
    """Read the names of the images. Classes are the folders in train, in alphabetical order.

    The shorter side of an image is scaled to 256 pixels, and the middle 224 x 224 are taken. The
    images in val are the test images. Images are in a random order, which is always the same; so
    the last ones, which are held out, are of all classes.
    """
    if directory is None:
        raise UserError("dataset imagenet needs --data DIR, the folder that holds train and val")
    train, val = directory / "train", directory / "val"
    classes = _classes_of(train, val, "--data")
    return DatasetSource(
        classes,
        _files_of(train, classes, _SUFFIXES).image_set(_IMAGENET),
        _files_of(val, classes, _SUFFIXES).image_set(_IMAGENET),
    )


class ImageFolder:
    """A folder of the user's images. Names are read at once, images when they are needed.

    With folders train and val, each with one folder a class, val has the test images. With class
    folders alone, a fifth of the images are test images, always the same. Images that lie directly
    in the folder have no labels, and a fifth of them are test images too.

    Raises UserError that names the folder where there are no images, or classes differ.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        folders = _folders(directory, "--dataset")
        self.classes: list[str] = []
        self._test: _Files | None = None
        if {"train", "val"} <= set(folders):
            train, val = directory / "train", directory / "val"
            self.classes = _in_order(_classes_of(train, val, "--dataset"))
            self._train = _files_of(train, self.classes, _MORE_SUFFIXES)
            self._test = _files_of(val, self.classes, _MORE_SUFFIXES)
        elif folders:
            self.classes = _in_order(folders)
            self._train = _files_of(directory, self.classes, _MORE_SUFFIXES)
        else:
            files = _images_in(directory, _MORE_SUFFIXES)
            self._train = _Files(files, [UNLABELLED] * len(files))
        if self._test is None and len(self._train.files) < _FEWEST:
            raise UserError(
                f"{directory}: has {len(self._train.files)} images; give at least {_FEWEST}, which "
                "are divided into training and test images, or folders train and val"
            )

    def read(self, channels: int, size: tuple[int, int] | None) -> DatasetSource:
        """Return the images with so many channels, at a size of (height, width).

        Without a size, all images must have one size. Raises UserError that names two files whose
        sizes differ.
        """
        if channels not in (1, 3):
            raise UserError(
                f"{self.directory}: files of images have 1 or 3 channels, the network takes "
                f"{channels}; give the images as a FILE.npz"
            )
        sets = [self._train] if self._test is None else [self._train, self._test]
        height, width = size or _common_size([file for part in sets for file in part.files])
        train, *others = (part.image_set(ImageForm(channels, height, width)) for part in sets)
        if others:
            return DatasetSource(self.classes, train, others[0])
        train, test = train.divided(max(len(train) // _TEST_SHARE, 1))
        return DatasetSource(self.classes, train, test)


@dataclass(frozen=True)
class _Files:
    """Files of images and their labels."""

    files: list[str]
    labels: list[int]

    def image_set(self, form: ImageForm) -> ImageSet:
        """Return the images in a random order, which is always the same."""
        return ImageSet(ImageFiles(self.files, form), torch.tensor(self.labels)).shuffled(
            _ORDER_SEED
        )


def _classes_of(train: Path, val: Path, option: str) -> list[str]:
    """Return the class folders of train; those of val must be the same."""
    classes = _folders(train, option)
    if not classes:
        raise UserError(f"{train}: has no folders; each class needs one, with its images in it")
    for name in sorted(set(_folders(val, option)) ^ set(classes)):
        if name in classes:
            raise UserError(f"{val / name}: no such folder; val needs one for each class of train")
        raise UserError(f"{val / name}: is for a class that train does not have")
    return classes


def _in_order(names: list[str]) -> list[str]:
    """Sort the names of classes: numbers by their values, others alphabetically."""
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)


def _folders(directory: Path, option: str) -> list[str]:
    """List the names of the folders in a directory, in order."""
    if not directory.is_dir():
        raise UserError(
            f"{directory}: no such directory; {option} takes the folder with train, val"
        )
    with os.scandir(directory) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _files_of(directory: Path, classes: Sequence[str], suffixes: tuple[str, ...]) -> _Files:
    """List the images in the class folders of a directory."""
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _images_in(directory / name, suffixes)
        files += found
        labels += [label] * len(found)
    return _Files(files, labels)


def _images_in(directory: Path, suffixes: tuple[str, ...]) -> list[str]:
    """List the images of a folder, in the order of their names."""
    with os.scandir(directory) as entries:
        found = sorted((e for e in entries if e.name.lower().endswith(suffixes)), key=_path)
    if not found:
        raise UserError(f"{directory}: has no images ({', '.join(suffixes)})")
    for entry in found:
        if not entry.is_file():
            raise UserError(f"{entry.path}: not readable: it is no regular file")
    return [entry.path for entry in found]


def _path(entry: os.DirEntry[str]) -> str:
    return entry.path


def _common_size(files: list[str]) -> tuple[int, int]:
    """Return the height and width that all images have; only their headers are read."""
    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(_size, files))
    for file, size in zip(files, sizes):
        if size != sizes[0]:
            (height, width), (other_height, other_width) = sizes[0], size
            raise UserError(
                f"{file}: is {other_height}x{other_width}, {files[0]} is {height}x{width}; "
                "give one size for all with --size HxW"
            )
    return sizes[0]


def _size(file: str) -> tuple[int, int]:
    """Read an image's height and width."""
    try:
        with Image.open(file) as opened:
            return opened.height, opened.width
    # A damaged file can raise any of these.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: not a readable image: {error}") from None


def _decode(file: str, form: ImageForm) -> Tensor:
    """Decode an image to uint8 (channels, height, width).

    A grey image gets equal channels where three are wanted.
    """
    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise UserError(f"{file}: has more than 8 bits a pixel; convert it to 8 bits")
            size = form.scaled(opened.size)
            if size[0] * size[1] > _MOST_PIXELS:
                raise UserError(
                    f"{file}: is {opened.height}x{opened.width}, which is too long: scaled to the "
                    f"network's input it would be {size[1]}x{size[0]}; cut it"
                )
            image = opened.convert("RGB" if form.channels == 3 else "L")
    # A damaged file can raise any of these.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: not a readable image: {error}") from None
    left, top = (
        round((side - wanted) / 2) for side, wanted in zip(size, (form.width, form.height))
    )
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + form.width, top + form.height))
    return torch.from_numpy(np.array(image)).view(form.height, form.width, -1).permute(2, 0, 1)
