"""Augmentation: random changes to training images, so that a network sees more of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from quant.data.images import ImageSet
from quant.networks.model import Recipe

__all__ = ["augment", "augmented_copies", "draw_moves", "erase", "move"]


def augment(pixels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Shift each image of (n, channels, h, w) at random, and mirror it or not."""
    return move(pixels, draw_moves(len(pixels), recipe, generator), recipe)


def draw_moves(count: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Draw moves of so many images, int64 (count, 3): rows, columns, and 1 to mirror."""
    corners = torch.randint(2 * recipe.shift + 1, (count, 2), generator=generator)
    mirrored = torch.zeros(count, 1)
    if recipe.flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
    return torch.cat([corners, mirrored.to(torch.int64)], 1)


def move(pixels: Tensor, moves: Tensor, recipe: Recipe) -> Tensor:
    """Move images (n, channels, h, w) as drawn; zeros move in."""
    count, _, height, width = pixels.shape
    padded = F.pad(pixels, (recipe.shift,) * 4)
    rows = moves[:, :1] + torch.arange(height)
    columns = moves[:, 1:2] + torch.arange(width)
    columns = torch.where(moves[:, 2:] > 0, columns.flip(1), columns)
    images = torch.arange(count).view(-1, 1, 1)
    return padded[images, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def erase(images: Tensor, side: int, corners: Tensor) -> Tensor:
    """Set a square of each image (n, channels, h, w) to zero; it may reach over the image's edge.

    `corners` is int64 (n, 2): the row and column of each square's first pixel, which may be
    negative.
    """
    _, _, height, width = images.shape
    rows = torch.arange(height) - corners[:, :1]
    columns = torch.arange(width) - corners[:, 1:]
    rows, columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    square = rows.unsqueeze(2) & columns.unsqueeze(1)
    return images.masked_fill(square.unsqueeze(1), 0)


def augmented_copies(
    image_set: ImageSet, recipe: Recipe, generator: torch.Generator, copies: int = 1
) -> ImageSet:
    """Return a set with so many copies of each image, each augmented anew."""
    parts = [augment(image_set.images, recipe, generator) for _ in range(copies)]
    return ImageSet(torch.cat(parts), image_set.labels.repeat(copies))
