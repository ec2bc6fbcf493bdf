"""Known images are enlarged until a network is as often right about them as about others."""

from __future__ import annotations

import pytest
import torch

from golden.bundle import Bundle
from golden.errors import UserError
from quant.data.images import ImageSet
from quant.data.registry import load
from quant.pipeline.unseen_images import as_if_unseen, enlarged
from quant.points.evaluation import evaluate
from tests.quant.tiny_networks import quickly_trained


@pytest.fixture(scope="module")
def known() -> tuple[Bundle, ImageSet]:
    """A network without predictors, and images that it was trained on."""
    return quickly_trained(4, 400)[1], load("digits", None).train.first(400)


def test_the_network_is_no_more_accurate_than_on_other_images(
    known: tuple[Bundle, ImageSet],
) -> None:
    bundle, images = known
    before = evaluate(bundle, {}, images).top1
    wanted = before - 10
    harder = as_if_unseen(bundle, images, wanted)
    assert wanted - 5 < evaluate(bundle, {}, harder).top1 <= wanted
    assert torch.equal(harder.labels, images.labels)
    assert harder.shape == images.shape


def test_images_that_are_hard_enough_stay_as_they_are(known: tuple[Bundle, ImageSet]) -> None:
    bundle, images = known
    assert as_if_unseen(bundle, images, 100) is images


def test_an_accuracy_that_no_factor_reaches_is_refused(known: tuple[Bundle, ImageSet]) -> None:
    bundle, images = known
    with pytest.raises(UserError, match=r"--unseen-accuracy 0.001: .* leave the option out"):
        as_if_unseen(bundle, images, 0.001)


def test_the_middle_is_enlarged() -> None:
    image = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    image[..., 2:6, 2:6] = 200  # fills an image that is enlarged twice
    twice = enlarged(ImageSet(image, torch.zeros(1, dtype=torch.int64)), 2.0).images
    assert twice.dtype == torch.uint8
    assert (twice[..., 1:7, 1:7] == 200).all()
    wide = ImageSet(torch.arange(48, dtype=torch.uint8).view(1, 1, 4, 12), torch.zeros(1))
    assert torch.equal(enlarged(wide, 1.0).images, wide.images)
    assert enlarged(wide, 1.5).images.shape == (1, 1, 4, 12)


def test_parts_of_a_changed_set_are_the_changed_images() -> None:
    images = ImageSet(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), torch.arange(5))
    doubled = images.changed(lambda part: part * 2)
    assert doubled[torch.tensor([3, 1])].images.flatten().tolist() == [6, 2]
    assert [labels.tolist() for _, labels in doubled.batches(2)] == [[0, 1], [2, 3], [4]]
    assert images.images.flatten().tolist() == [0, 1, 2, 3, 4]


def test_parts_of_a_set_are_joined() -> None:
    first, last = ImageSet(torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1), torch.arange(6))[
        torch.tensor([5, 0, 3, 2])
    ].divided(1)
    both = last + first
    assert both.labels.tolist() == both.images.flatten().tolist() == [2, 5, 0, 3]
