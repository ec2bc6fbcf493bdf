"""Images and labels: every dataset that quantisation, ZAP training and evaluation can read.

A dataset is one entry of `DATASETS`; add one there. Images are kept as 8-bit pixels and become
floats of 0 .. 1 a batch at a time.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from golden.errors import UserError

__all__ = ["DATASETS", "Dataset", "Source", "Split", "load"]

DIGITS_SIZE = 16
"""Height and width that the 8x8 digits are enlarged to."""
_DIGITS_TEST = 360
_DIGITS_SPLIT_SEED = 2020
_CIFAR_SHAPE = (3, 32, 32)
_FEWEST_HELD_OUT = 2000


@dataclass(frozen=True)
class Split:
    """Images, uint8 (n, channels, height, width), and their labels, int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: Tensor | slice) -> Tensor:
        """The chosen images as float32 pixels of 0 .. 1."""
        return self.images[index].to(torch.float32) / 255

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels, labels) in order, `size` images at a time."""
        for start in range(0, len(self), size):
            chosen = slice(start, start + size)
            yield self.pixels(chosen), self.labels[chosen]

    def first(self, count: int | None) -> Split:
        """The first `count` images, all of them where it is None."""
        return Split(self.images[:count], self.labels[:count])

    def divided(self, last: int) -> tuple[Split, Split]:
        """All but the last so many images, and those."""
        kept = len(self) - last
        return self.first(kept), Split(self.images[kept:], self.labels[kept:])

    def sample(self, count: int, seed: int) -> Split:
        """At most `count` images, drawn without replacement."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return Split(self.images[order[:count]], self.labels[order[:count]])


@dataclass(frozen=True)
class Source:
    """What a dataset's files hold."""

    classes: list[str]
    train: Split
    test: Split


@dataclass(frozen=True)
class Dataset:
    """The images to train on, those that decisions are made by, and those to report on."""

    name: str
    classes: list[str]
    train: Split
    held_out: Split
    """Of the training images, the ones that networks are not trained on."""
    test: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self.test.images.shape[1:]
        return channels, height, width


def load(name: str, directory: Path | None) -> Dataset:
    """Read a dataset of `DATASETS`; `directory` is where its files are, if it has any.

    Raises UserError naming the missing or damaged file.
    """
    source = DATASETS[name](directory)
    train, held_out = source.train.divided(_held_out(len(source.train)))
    return Dataset(name, source.classes, train, held_out, source.test)


def _held_out(images: int) -> int:
    """A tenth of the training images; of few more, up to a fifth, to tell small losses apart."""
    return min(max(images // 10, _FEWEST_HELD_OUT), images // 5)


def _digits(directory: Path | None) -> Source:
    """scikit-learn's 1,797 handwritten digits, enlarged bilinearly; split the same way for ever."""
    del directory
    source = load_digits()
    levels = torch.from_numpy(source.images).to(torch.float32).unsqueeze(1) / 16
    size = (DIGITS_SIZE, DIGITS_SIZE)
    pixels = F.interpolate(levels, size, mode="bilinear", align_corners=False)
    images = (pixels * 255).round().to(torch.uint8)
    labels = torch.from_numpy(source.target).to(torch.int64)
    order = torch.from_numpy(np.random.default_rng(_DIGITS_SPLIT_SEED).permutation(len(labels)))
    test, train = order[:_DIGITS_TEST], order[_DIGITS_TEST:]
    return Source(
        [str(digit) for digit in source.target_names],
        Split(images[train], labels[train]),
        Split(images[test], labels[test]),
    )


def _cifar10(directory: Path | None) -> Source:
    """CIFAR-10 in its official Python layout, with whichever `data_batch_*` are there."""
    folder = _cifar_folder("cifar10", directory, "cifar-10-batches-py")
    classes = _names(folder / "batches.meta", "label_names")
    batches = sorted(folder.glob("data_batch_*")) or [folder / "data_batch_1"]
    train = _cifar_split(batches, "labels", len(classes))
    test = _cifar_split([folder / "test_batch"], "labels", len(classes))
    return Source(classes, train, test)


def _cifar100(directory: Path | None) -> Source:
    """CIFAR-100 in its official Python layout, fine labels."""
    folder = _cifar_folder("cifar100", directory, "cifar-100-python")
    classes = _names(folder / "meta", "fine_label_names")
    train = _cifar_split([folder / "train"], "fine_labels", len(classes))
    test = _cifar_split([folder / "test"], "fine_labels", len(classes))
    return Source(classes, train, test)


DATASETS: dict[str, Callable[[Path | None], Source]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
}
"""Name on the command line -> loader, which takes the directory given by --data."""


def _cifar_folder(dataset: str, directory: Path | None, name: str) -> Path:
    """The extracted folder, given itself or its parent."""
    if directory is None:
        raise UserError(f"dataset {dataset} needs --data DIR, the folder that holds {name}")
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; --data takes the folder with {name}")
    return directory / name if (directory / name).is_dir() else directory


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled dicts of lists, strings and numpy arrays, and runs nothing else."""

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


def _cifar_split(files: list[Path], key: str, classes: int) -> Split:
    """All images of the files, labelled by their entry `key`."""
    images, labels = [], []
    size = int(np.prod(_CIFAR_SHAPE))
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
        images.append(torch.from_numpy(data).view(-1, *_CIFAR_SHAPE))
        labels.append(torch.from_numpy(found.astype(np.int64)))
    return Split(torch.cat(images), torch.cat(labels))
