"""The classes that a network's results stand for: of each image, or of each pixel of a map."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from golden.errors import UserError

__all__ = ["classes_of", "correct"]


def classes_of(returned: Any) -> Tensor:
    """Return the classes of images: int64 (n,), or (n, height, width) of a network that gives maps.

    `returned` is what a network gives, (n, classes) or (n, classes, height, width). Of several
    tensors it is the first. One of integers holds the classes themselves.
    """
    result = next(leaf for leaf in pytree.tree_leaves(returned) if isinstance(leaf, Tensor))
    classes = result.argmax(1) if result.is_floating_point() or result.ndim > 1 else result
    return classes.flatten() if classes[:1].numel() == 1 else classes


def correct(returned: Any, labels: Tensor) -> float:
    """Count the images whose class is their label; of a map, the share of its pixels counts.

    Raises UserError where the network gives a class for each pixel, and an image has one label.
    """
    classes = classes_of(returned).cpu()
    if classes.shape != labels.shape:
        raise UserError(
            "the network gives a class for each pixel, but each image has one label: give images"
            " without labels, and agreement with the float network is measured"
        )
    same = classes == labels
    return int(same.sum()) if same.ndim == 1 else float(same.double().mean((1, 2)).sum())
