"""Classes of images and of pixels."""

from __future__ import annotations

import pytest
import torch

from golden.errors import UserError
from quant.data.answers import classes_of, correct
from quant.data.images import ImageSet


def test_a_vector_or_a_map_of_one_pixel_is_the_class_of_an_image() -> None:
    logits = torch.tensor([[0.0, 2, 1], [3, 1, 2]])
    assert classes_of(logits).tolist() == [1, 0]
    assert classes_of(logits[:, :, None, None]).tolist() == [1, 0]
    assert classes_of((logits, torch.zeros(2, 5))).tolist() == [1, 0]
    assert classes_of(logits.argmax(1)).tolist() == [1, 0]
    assert correct(logits, torch.tensor([1, 1])) == 1


def test_a_map_has_a_class_for_each_pixel() -> None:
    logits = torch.zeros(2, 3, 2, 4)
    logits[0, 1] = 1
    logits[1, 2, 0] = 1
    classes = classes_of(logits)
    assert classes.tolist() == [[[1] * 4] * 2, [[2] * 4, [0] * 4]]
    assert correct(logits, torch.ones(2, 2, 4, dtype=torch.int64)) == 1
    assert correct(logits, torch.full((2, 2, 4), 2)) == 0.5


def test_a_map_does_not_answer_one_label() -> None:
    with pytest.raises(UserError, match="a class for each pixel, but each image has one label"):
        correct(torch.zeros(2, 3, 2, 4), torch.zeros(2, dtype=torch.int64))


def test_images_are_labelled_pixel_by_pixel() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    images[1] = 255
    labelled = ImageSet(images, torch.full((3,), -1)).labelled_by(
        lambda pixels: torch.cat([1 - pixels, pixels], 1), 2
    )
    assert labelled.labels.shape == (3, 2, 2)
    assert labelled[1:].labels.float().mean((1, 2)).tolist() == [1, 0]
