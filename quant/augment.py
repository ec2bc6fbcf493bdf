"""What training does to images so that it sees more than there are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from quant.data import Split
from quant.models import Recipe

__all__ = ["augment", "augmented"]


def augment(pixels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Each image of (n, channels, h, w) shifted, and mirrored or not, as `generator` has it."""
    count, _, height, width = pixels.shape
    padded = F.pad(pixels, (recipe.shift,) * 4)
    corners = torch.randint(2 * recipe.shift + 1, (count, 2), generator=generator)
    rows = corners[:, :1] + torch.arange(height)
    columns = corners[:, 1:] + torch.arange(width)
    if recipe.flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    images = torch.arange(count).view(-1, 1, 1)
    return padded[images, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def augmented(split: Split, recipe: Recipe, generator: torch.Generator, copies: int = 1) -> Split:
    """Copies of a split, each image augmented anew in each."""
    parts = [augment(split.images, recipe, generator) for _ in range(copies)]
    return Split(torch.cat(parts), split.labels.repeat(copies))
