"""CIFAR-10 and CIFAR-100, read from the files of the official Python version."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from golden.errors import UserError
from quant.data.images import DatasetSource, ImageSet

__all__ = ["FOLDERS", "cifar10", "cifar100"]

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""The folder of a dataset's files, as its archive unpacks it."""
_SHAPE = (3, 32, 32)


def cifar10(directory: Path | None) -> DatasetSource:
    """Read CIFAR-10 from those files `data_batch_*` that are there."""
    folder = _folder("cifar10", directory)
    classes = _names(folder / "batches.meta", "label_names")
    batches = sorted(folder.glob("data_batch_*")) or [folder / "data_batch_1"]
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


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled dicts of lists, strings and numpy arrays, and refuses everything else."""

    _ALLOWED = frozenset(
        {
            ("_codecs", "encode"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
        }
    )

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"holds a {module}.{name}")
        return super().find_class(module, name)


def _unpickle(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = _ArraysOnly(stream).load()
        return {key.decode() if isinstance(key, bytes) else key: content[key] for key in content}
    except FileNotFoundError:
        raise UserError(f"{file}: not found; --data takes the extracted dataset") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{file}: not a readable CIFAR batch: {error}") from None


def _names(file: Path, key: str) -> list[str]:
    meta = _unpickle(file)
    if key not in meta:
        raise UserError(f"{file}: has no {key}")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in meta[key]]


def _image_set(files: list[Path], key: str, classes: int) -> ImageSet:
    """Read all images of the files; their entry `key` holds the labels."""
    images, labels = [], []
    size = int(np.prod(_SHAPE))
    for file in files:
        batch = _unpickle(file)
        data = np.asarray(batch.get("data"))
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != size:
            raise UserError(f"{file}: data is not an array of uint8 (images, {size})")
        found = np.asarray(batch.get(key, ()))
        if found.shape != (len(data),):
            raise UserError(f"{file}: {key} does not have one label for each image")
        if not np.isin(found, range(classes)).all():
            raise UserError(f"{file}: {key} leaves 0 .. {classes - 1}")
        images.append(torch.from_numpy(data).view(-1, *_SHAPE))
        labels.append(torch.from_numpy(found.astype(np.int64)))
    return ImageSet(torch.cat(images), torch.cat(labels))
