"""CIFAR-10 and CIFAR-100, read from the files of the official Python version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden.errors import UserError
from quant.data.images import DatasetSource, ImageSet
from quant.data.pickled_arrays import PickledArray, read_pickle

__all__ = ["FOLDERS", "cifar10", "cifar100"]

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""The folder of a dataset's files, as its archive unpacks it."""
_SHAPE = (3, 32, 32)


def cifar10(directory: Path | None) -> DatasetSource:
    """Read CIFAR-10 from those of the files `data_batch_1` to `data_batch_5` that are there."""
    folder = _folder("cifar10", directory)
    classes = _names(folder / "batches.meta", "label_names")
    every = [folder / f"data_batch_{number}" for number in range(1, 6)]
    batches = [file for file in every if file.exists()] or every[:1]
    train = _image_set(batches, "labels", len(classes))
    test = _image_set([folder / "test_batch"], "labels", len(classes))
    return DatasetSource(classes, train, test)


def cifar100(directory: Path | None) -> DatasetSource:
    """Read CIFAR-100 with its fine labels."""
    folder = _folder("cifar100", directory)
    classes = _names(folder / "meta", "fine_label_names")
    train = _image_set([folder / "train"], "fine_labels", len(classes))
    test = _image_set([folder / "test"], "fine_labels", len(classes))
    return DatasetSource(classes, train, test)


def _folder(dataset: str, directory: Path | None) -> Path:
    """Return the extracted folder; `directory` is the folder itself or its parent."""
    name = FOLDERS[dataset]
    if directory is None:
        raise UserError(f"dataset {dataset} needs --data DIR, the folder that holds {name}")
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; --data takes the folder with {name}")
    return directory / name if (directory / name).is_dir() else directory


def _batch(file: Path) -> dict[str, Any]:
    """Read a file as a dict whose keys are strings."""
    content = read_pickle(file, "--data takes the extracted dataset")
    if not isinstance(content, dict):
        raise UserError(f"{file}: holds no dict; --data takes the extracted dataset")
    return {
        _text(key): value.value if isinstance(value, PickledArray) else value
        for key, value in content.items()
    }


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _list(file: Path, content: dict[str, Any], key: str, kinds: tuple[type, ...]) -> list[Any]:
    """Return a flat list of a file, whose elements are of some types."""
    value = content.get(key)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, list) or any(type(element) not in kinds for element in value):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{file}: has no {key}, a list of {names}")
    return value


def _names(file: Path, key: str) -> list[str]:
    return [_text(name) for name in _list(file, _batch(file), key, (str, bytes))]


def _image_set(files: list[Path], key: str, classes: int) -> ImageSet:
    """Read all images of the files; their entry `key` holds the labels."""
    images, labels = [], []
    size = int(np.prod(_SHAPE))
    for file in files:
        batch = _batch(file)
        data = batch.get("data")
        if (
            not isinstance(data, np.ndarray)
            or data.dtype != np.uint8
            or data.ndim != 2
            or data.shape[1] != size
        ):
            raise UserError(f"{file}: data is not an array of uint8 (images, {size})")
        if len(data) == 0:
            raise UserError(f"{file}: has no images")
        found = _list(file, batch, key, (int,))
        if len(found) != len(data):
            raise UserError(f"{file}: {key} does not have one label for each image")
        if not all(0 <= label < classes for label in found):
            raise UserError(f"{file}: {key} leaves 0 .. {classes - 1}")
        images.append(torch.from_numpy(data).view(-1, *_SHAPE))
        labels.append(torch.tensor(found, dtype=torch.int64))
    return ImageSet(torch.cat(images), torch.cat(labels))
