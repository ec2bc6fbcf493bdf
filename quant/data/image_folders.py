"""ImageNet, or any other images, in class folders: train/CLASS/*.JPEG and val/CLASS/*.JPEG.

Images are prepared as torchvision's pretrained networks expect them: the shorter side is resized to
256 pixels, and the middle 224 x 224 pixels are taken.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from golden.errors import UserError
from quant.data.images import DatasetSource, ImageSet

__all__ = ["ImageFiles", "imagenet"]

SIZE = 224
_SHORTER_SIDE = 256
_SUFFIXES = (".jpeg", ".jpg", ".png")
_ORDER_SEED = 2020


class ImageFiles:
    """Images in files, (n, 3, 224, 224). A file is decoded each time its image is read."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.files), 3, SIZE, SIZE

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Read images as uint8. Raises UserError that names a file that is not a readable image."""
        images = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        files = [self.files[number] for number in index.tolist()]
        with ThreadPoolExecutor() as pool:  # Pillow decodes without holding Python's lock
            for number, image in enumerate(pool.map(_decode, files)):
                images[number] = image
        return images


def imagenet(directory: Path | None) -> DatasetSource:
    """Read the names of the images. Classes are the folders in train, in alphabetical order.

    The images in val are the test images. Images are in a random order, which is always the same;
    so the last ones, which are held out, are of all classes.
    """
    if directory is None:
        raise UserError("dataset imagenet needs --data DIR, the folder that holds train and val")
    train, val = directory / "train", directory / "val"
    classes = _folders(train)
    if not classes:
        raise UserError(f"{train}: has no folders; each class needs one, with its images in it")
    for name in sorted(set(_folders(val)) ^ set(classes)):
        if name in classes:
            raise UserError(f"{val / name}: no such folder; val needs one for each class of train")
        raise UserError(f"{val / name}: is for a class that train does not have")
    return DatasetSource(classes, _image_set(train, classes), _image_set(val, classes))


def _folders(directory: Path) -> list[str]:
    """List the names of the folders in a directory, in order."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; --data takes the folder with train, val")
    with os.scandir(directory) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _image_set(directory: Path, classes: Sequence[str]) -> ImageSet:
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        with os.scandir(directory / name) as entries:
            found = sorted(e.path for e in entries if e.name.lower().endswith(_SUFFIXES))
        if not found:
            raise UserError(f"{directory / name}: has no images ({', '.join(_SUFFIXES)})")
        files += found
        labels += [label] * len(found)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(_ORDER_SEED))
    return ImageSet(ImageFiles(files), torch.tensor(labels))[order]


def _decode(file: str) -> Tensor:
    """Decode an image to uint8 (3, 224, 224); a grey image gets three equal channels."""
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    # A damaged file can raise any of these.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: not a readable image: {error}") from None
    shorter = min(image.size)
    width, height = (side * _SHORTER_SIDE // shorter for side in image.size)
    left, top = (round((side - SIZE) / 2) for side in (width, height))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + SIZE, top + SIZE))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
