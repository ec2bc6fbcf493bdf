"""Augmentation shifts, mirrors and erases, and does nothing else."""

from __future__ import annotations

from dataclasses import replace

import torch

from quant.training.augmentation import augment, erase
from tests.quant.tiny_networks import RECIPE


def test_augmentation_shifts_and_mirrors() -> None:
    recipe = replace(RECIPE, shift=2, flip=True)
    image = torch.rand(1, 3, 6, 5)
    seen = {"plain": 0, "mirrored": 0}
    padded = torch.nn.functional.pad(image, (2,) * 4)
    for seed in range(60):
        result = augment(image, recipe, torch.Generator().manual_seed(seed))
        assert result.shape == image.shape
        crops = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(padded[:, :, y : y + 6, x : x + 5], result)
        ]
        mirrored = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(padded[:, :, y : y + 6, x : x + 5].flip(3), result)
        ]
        assert len(crops) + len(mirrored) == 1
        seen["plain" if crops else "mirrored"] += 1
    assert min(seen.values()) > 15


def test_no_augmentation_changes_nothing() -> None:
    images = torch.rand(4, 1, 6, 5)
    recipe = replace(RECIPE, shift=0, flip=False)
    assert torch.equal(augment(images, recipe, torch.Generator().manual_seed(0)), images)


def test_an_erased_square_may_reach_over_the_edge() -> None:
    images = torch.rand(2, 3, 6, 5) + 1
    erased = erase(images, 3, torch.tensor([[1, 2], [-1, 4]]))
    expected = images.clone()
    expected[0, :, 1:4, 2:5] = 0
    expected[1, :, :2, 4:] = 0
    assert torch.equal(erased, expected)
