"""Images as hard for a network as ones that it was not trained on, made of ones that it was.

A network knows the images that it was trained on: it is right about nearly all of them, and
skipping changes few of its answers. On 2,000 images of CIFAR-10 that a ResNet-20 was trained on, a
quarter as many answers change as on test images. Enlarging the middle of each image makes it
harder. Once the network is as often right as it is about unseen images, about as many answers
change as on those (docs/how-it-works/training.md has the figures).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from golden.bundle import Bundle
from golden.errors import UserError
from quant.data.images import ImageSet
from quant.points.evaluation import evaluate

__all__ = ["as_if_unseen", "enlarged"]

_LARGEST = 2.0
"""Of the factors that images are enlarged by."""
_STEPS = 6
"""Of the search for a factor, each of which halves the interval."""


def as_if_unseen(bundle: Bundle, images: ImageSet, accuracy: float) -> ImageSet:
    """Return known images, enlarged until the network is right about a given share of them.

    Images that are hard enough already are returned as they are.

    Parameters
    ----------
    bundle : Bundle
    images : ImageSet
        Labelled images that the network was trained on.
    accuracy : float
        Top-1 accuracy in percent that the network has on images that it was not trained on.

    Raises
    ------
    UserError
        If the network is more accurate than that at any factor.
    """

    def is_right_too_often(factor: float) -> bool:
        label = f"held out, enlarged {factor:.2f} times"
        return evaluate(bundle, {}, enlarged(images, factor), label).top1 > accuracy

    if not is_right_too_often(1.0):
        return images
    low, high = 1.0, _LARGEST
    if is_right_too_often(high):
        raise UserError(
            f"--unseen-accuracy {accuracy:g}: the network is right about more of the held-out "
            f"images even if their middle is enlarged {high:g} times; leave the option out, or "
            "give the accuracy on images that the network has not seen"
        )
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_right_too_often(middle) else (low, middle)
    return enlarged(images, high)


def enlarged(images: ImageSet, factor: float) -> ImageSet:
    """Return images whose middle is enlarged by a factor of at least 1; their size stays."""

    def enlarge(part: Tensor) -> Tensor:
        count, channels, height, width = part.shape
        matrix = torch.tensor([[1 / factor, 0, 0], [0, 1 / factor, 0]]).expand(count, 2, 3)
        grid = F.affine_grid(matrix, [count, channels, height, width], align_corners=False)
        values = F.grid_sample(part.float(), grid, padding_mode="border", align_corners=False)
        return values.round().to(torch.uint8)

    return images if factor == 1 else images.changed(enlarge)
