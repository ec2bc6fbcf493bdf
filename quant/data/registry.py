"""The registry of datasets.

To add a dataset, add an entry to `DATASETS`. Images are stored or read as 8-bit pixels, and become
floats of 0 .. 1 a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from golden.bundle import Bundle
from golden.errors import UserError
from quant.data.cifar import cifar10, cifar100
from quant.data.digits import digits
from quant.data.image_folders import imagenet
from quant.data.images import DatasetSource, ImageSet
from quant.data.textures import textures
from quant.runtime.threads import set_threads_for

__all__ = ["DATASETS", "Dataset", "load", "load_for_bundle"]

_FEWEST_HELD_OUT = 2000

DATASETS: dict[str, Callable[[Path | None], DatasetSource]] = {
    "digits": digits,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "imagenet": imagenet,
    "textures-32": partial(textures, 32),
    "textures-224": partial(textures, 224),
}
"""Name on the command line -> loader, which takes the directory that --data names, or None."""


@dataclass(frozen=True)
class Dataset:
    """The images of a dataset, by what they are used for."""

    name: str
    classes: list[str]
    train: ImageSet
    held_out: ImageSet
    """Training images that networks are not trained on, because thresholds are chosen by them."""
    test: ImageSet

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return self.test.shape


def load(name: str, directory: Path | None) -> Dataset:
    """Read a dataset of `DATASETS`; `directory` holds its files, if it has any.

    Raises UserError that names the missing or damaged file.
    """
    source = DATASETS[name](directory)
    train, held_out = source.train.divided(_held_out(len(source.train)))
    return Dataset(name, source.classes, train, held_out, source.test)


def load_for_bundle(bundle: Bundle, name: str, directory: Path | None) -> Dataset:
    """Read a dataset to run a bundle's network on, and set the number of threads for its images.

    Raises UserError if it cannot be read, or if its images or classes do not fit the network.
    """
    dataset = load(name, directory)
    set_threads_for(dataset.shape)
    shape = bundle.manifest.activations[bundle.manifest.input.tensor].shape
    if shape != dataset.shape:
        raise UserError(f"{dataset.name} has images of {dataset.shape}, the network takes {shape}")
    if len(bundle.manifest.classes) != len(dataset.classes):
        raise UserError(
            f"{dataset.name} has {len(dataset.classes)} classes, "
            f"the network has {len(bundle.manifest.classes)}"
        )
    return dataset


def _held_out(images: int) -> int:
    """Return a tenth of the images; of a small dataset up to a fifth, so that small losses show."""
    return min(max(images // 10, _FEWEST_HELD_OUT), images // 5)
