"""Sets of labelled images, in memory or in files, as training and evaluation use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from quant.data.answers import classes_of

__all__ = ["UNLABELLED", "DatasetSource", "ImageSet", "Images"]

UNLABELLED = -1
"""The label of an image that has none."""


class Images(Protocol):
    """8-bit images (n, channels, height, width): a uint8 tensor, or an object that reads them."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __getitem__(self, index: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class _Changed:
    """Images that are changed when they are read."""

    images: Images
    change: Callable[[Tensor], Tensor]

    @property
    def shape(self) -> Sequence[int]:
        return self.images.shape

    def __getitem__(self, index: Tensor, /) -> Tensor:
        return self.change(self.images[index])


class ImageSet:
    """Some of a dataset's images and their labels, in an order of its own.

    Parameters
    ----------
    images : Images
    labels : int64 (n,)
    chosen : int64 (n,), optional
        The index of each label's image. By default, the images are all taken in order.
    """

    def __init__(self, images: Images, labels: Tensor, chosen: Tensor | None = None) -> None:
        self._images = images
        self._chosen = torch.arange(len(labels)) if chosen is None else chosen
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> ImageSet:
        """Return a set of some of these images. No image is read."""
        return ImageSet(self._images, self.labels[index], self._chosen[index])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        _, channels, height, width = self._images.shape
        return channels, height, width

    @property
    def images(self) -> Tensor:
        """All images at once, uint8 (n, channels, height, width)."""
        return self._images[self._chosen]

    def pixels(self, index: Tensor | slice) -> Tensor:
        """Read some of the images as float32 pixels of 0 .. 1."""
        return self[index].images.to(torch.float32) / 255

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Read (pixels, labels) in order, `size` images at a time."""
        for start in range(0, len(self), size):
            index = slice(start, start + size)
            yield self.pixels(index), self.labels[index]

    def first(self, count: int | None) -> ImageSet:
        """Return the first `count` images; all images if it is None."""
        return self[:count]

    def changed(self, change: Callable[[Tensor], Tensor]) -> ImageSet:
        """Return the set with changed images.

        `change` maps uint8 images (n, channels, height, width) to ones of the same shape, each time
        that they are read.
        """
        return ImageSet(_Changed(self._images, change), self.labels, self._chosen)

    def __add__(self, more: ImageSet) -> ImageSet:
        """Join two parts of one set. No image is read."""
        assert more._images is self._images
        labels = torch.cat([self.labels, more.labels])
        return ImageSet(self._images, labels, torch.cat([self._chosen, more._chosen]))

    def divided(self, last: int) -> tuple[ImageSet, ImageSet]:
        """Divide the set into all but the last `last` images, and the last ones."""
        kept = len(self) - last
        return self[:kept], self[kept:]

    def sample(self, count: int, seed: int) -> ImageSet:
        """Draw at most `count` images without replacement."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self[order[:count]]

    def shuffled(self, seed: int) -> ImageSet:
        """Return the set in a random order that depends on `seed` alone."""
        return self.sample(len(self), seed)

    @torch.no_grad()
    def labelled_by(self, logits: Callable[[Tensor], Any], size: int) -> ImageSet:
        """Return the set with the classes that a network gives as its labels.

        `logits` maps pixels of 0 .. 1 to (n, classes); `size` images are classified at a time. A
        network that gives maps gives a class for each pixel: labels are (n, height, width) then.
        """
        labels = [classes_of(logits(pixels)).cpu() for pixels, _ in self.batches(size)]
        return ImageSet(self._images, torch.cat([*labels, self.labels[:0]]), self._chosen)


@dataclass(frozen=True)
class DatasetSource:
    """The images that a dataset's files hold."""

    classes: list[str]
    """Their names; none if the images have no labels."""
    train: ImageSet
    test: ImageSet
