"""The digits are the same every time."""

from __future__ import annotations

import torch

from quant.data.registry import load


def test_digits_are_the_same_split_every_time() -> None:
    first, second = load("digits", None), load("digits", None)
    sizes = len(first.train), len(first.held_out), len(first.test)
    assert (sizes, first.shape) == ((1150, 287, 360), (1, 16, 16))
    assert first.classes == [str(digit) for digit in range(10)]
    assert torch.equal(first.test.images, second.test.images)
    pixels = first.train.pixels(slice(0, 100))
    assert pixels.dtype == torch.float32
    assert (float(pixels.min()), float(pixels.max())) == (0, 1)
