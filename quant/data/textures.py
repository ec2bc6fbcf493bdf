"""Random textures: images that need no files, for networks that nobody trained."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from quant.data.images import DatasetSource, ImageSet

__all__ = ["texture_images", "textures"]

_TRAIN, _TEST = 20, 20
_SEED = 2020


def textures(size: int, directory: Path | None) -> DatasetSource:
    """Make images (3, size, size) of noise whose power falls with frequency, as in photographs.

    They are the same each time, and all of one class.
    """
    del directory
    images = texture_images(_TRAIN + _TEST, (size, size), 3)
    labels = torch.zeros(len(images), dtype=torch.int64)
    train, test = ImageSet(images, labels).divided(_TEST)
    return DatasetSource(["texture"], train, test)


def texture_images(count: int, size: tuple[int, int], channels: int) -> Tensor:
    """Make uint8 images (count, channels, *size): octaves of noise, the coarser the stronger."""
    generator = torch.Generator().manual_seed(_SEED)
    total = torch.zeros(count, channels, *size)
    cells = 2
    while cells <= max(size):
        noise = torch.rand(count, channels, cells, cells, generator=generator) - 0.5
        octave = F.interpolate(noise, size, mode="bilinear", align_corners=False)
        total += octave / cells
        cells *= 2
    low = total.amin((1, 2, 3), keepdim=True)
    high = total.amax((1, 2, 3), keepdim=True)
    return ((total - low) / (high - low) * 255).round().to(torch.uint8)
