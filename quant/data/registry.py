"""The datasets: the registry of built-in ones, and the user's own images.

To add a dataset, add an entry to `DATASETS`. Images are stored or read as 8-bit pixels, and become
floats of 0 .. 1 a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import Network, quantise_images
from quant.data.cifar import cifar10, cifar100
from quant.data.digits import digits
from quant.data.image_arrays import read_arrays
from quant.data.image_folders import ImageFolder, imagenet
from quant.data.images import DatasetSource, ImageSet
from quant.data.textures import textures
from quant.native.network import native_network
from quant.runtime.batch_size import batch_size
from quant.runtime.threads import set_threads_for

__all__ = [
    "DATASETS",
    "Dataset",
    "OpenDataset",
    "divided_dataset",
    "images_for_bundle",
    "load",
    "load_for_bundle",
    "open_dataset",
]

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
    """Their names; none if the images have no labels."""
    train: ImageSet
    held_out: ImageSet
    """Training images that networks are not trained on, because thresholds are chosen by them."""
    test: ImageSet

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return self.test.shape

    @property
    def labelled(self) -> bool:
        """True where the images have labels of their own."""
        return bool(self.classes)

    def classes_for(self, count: int) -> list[str]:
        """Return the names of a network's classes, as many as it has outputs.

        Raises UserError if the images have other classes. The user's images leave it open how many
        classes there are, if they have no labels or if their classes are called 0, 1, 2, ...
        """
        numbers = [str(number) for number in range(count)]
        known = len(self.classes)
        if self.name not in DATASETS and known <= count and self.classes == numbers[:known]:
            return numbers
        if len(self.classes) != count:
            raise UserError(f"{self.name} has {len(self.classes)} classes, the network has {count}")
        return self.classes


@dataclass(frozen=True)
class OpenDataset:
    """A dataset whose classes are known, and whose images are not read yet."""

    name: str
    classes: list[str]
    read: Callable[[int], Dataset]
    """Returns the images for a network whose input has so many channels."""


def load(name: str, directory: Path | None) -> Dataset:
    """Read a dataset of `DATASETS`; `directory` holds its files, if it has any.

    Raises UserError that names the missing or damaged file.
    """
    return divided_dataset(name, DATASETS[name](directory))


def open_dataset(
    name: str, directory: Path | None, size: tuple[int, int] | None = None
) -> OpenDataset:
    """Open a dataset of `DATASETS`, a folder of images or a .npz file.

    Parameters
    ----------
    name : str
        A name, or the path of a folder or a file.
    directory : Path or None
        The folder of a built-in dataset.
    size : (height, width), optional
        The size that a folder's images get.

    Raises UserError that names what is missing or damaged.
    """
    path = Path(name)
    if name not in DATASETS:
        if directory is not None:
            raise UserError(f"--data goes with a built-in dataset; {name} needs none: leave it out")
        if path.is_dir():
            folder = ImageFolder(path)
            return OpenDataset(
                name,
                folder.classes,
                lambda channels: divided_dataset(name, folder.read(channels, size)),
            )
        if path.suffix != ".npz":
            raise UserError(
                f"dataset {name!r}: neither a folder, nor a FILE.npz, nor one of "
                f"{', '.join(sorted(DATASETS))}"
            )
    if size is not None:
        raise UserError(f"--size is for a folder of images; {name} has a size of its own")
    source = DATASETS[name](directory) if name in DATASETS else read_arrays(path)
    dataset = divided_dataset(name, source)
    return OpenDataset(name, source.classes, lambda channels: dataset)


def divided_dataset(name: str, source: DatasetSource) -> Dataset:
    """Return a dataset whose training images are divided: the last ones are held out."""
    train, held_out = source.train.divided(_held_out(len(source.train)))
    return Dataset(name, source.classes, train, held_out, source.test)


def images_for_bundle(bundle: Bundle, name: str, directory: Path | None) -> Dataset:
    """Read a dataset to run a bundle's network on, with the labels that it has.

    `name` is as for `open_dataset`. Images of a folder get the size of the network's input. Raises
    UserError if it cannot be read, or if its images do not fit the network.
    """
    channels, height, width = bundle.manifest.activations[bundle.manifest.input.tensor].shape
    of_folder = (height, width) if name not in DATASETS and Path(name).is_dir() else None
    dataset = open_dataset(name, directory, of_folder).read(channels)
    if dataset.shape != (channels, height, width):
        raise UserError(
            f"{dataset.name} has images of {dataset.shape}, the network takes "
            f"{(channels, height, width)}"
        )
    return dataset


def load_for_bundle(bundle: Bundle, name: str, directory: Path | None) -> Dataset:
    """Read a dataset as `images_for_bundle` does, and set the number of threads for its images.

    Where images have no labels, held-out and test images get the classes that the network without
    ZAP gives; accuracy is then agreement with it. Raises UserError as `images_for_bundle` does, and
    if the dataset has other classes than the network.
    """
    dataset = images_for_bundle(bundle, name, directory)
    set_threads_for(dataset.shape)
    dataset.classes_for(len(bundle.manifest.classes))
    if dataset.labelled:
        return dataset
    network, count = native_network(bundle) or Network(bundle), batch_size(bundle)
    held_out, test = (
        part.labelled_by(
            lambda pixels: network.outputs(quantise_images(bundle, pixels))[bundle.manifest.output],
            count,
        )
        for part in (dataset.held_out, dataset.test)
    )
    return replace(dataset, held_out=held_out, test=test)


def _held_out(images: int) -> int:
    """Return a tenth of the images; of a small dataset up to a fifth, so that small losses show."""
    return min(max(images // 10, _FEWEST_HELD_OUT), images // 5)
