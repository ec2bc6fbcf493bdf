"""Images in arrays: a file of numpy, or arrays of a Python program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.errors import UserError
from golden.reading import check_readable
from quant.data.images import UNLABELLED, DatasetSource, ImageSet

__all__ = ["from_arrays", "image_tensor", "read_arrays"]

_ORDER_SEED = 2020
_TEST_SHARE = 5
"""One of so many images is a test image, unless the file has test images of its own."""
_FEWEST = 10
_CHANNELS = (1, 3)
"""The numbers of channels that tell whether channels come first or last."""


def read_arrays(file: Path) -> DatasetSource:
    """Read the images of a .npz file.

    It holds `images`, uint8 (n, height, width, channels), (n, channels, height, width) or
    (n, height, width), and may hold `labels` (integers from 0), `classes` (names), `test_images`
    and `test_labels`. Without test images, a fifth of the images are test images, always the same.
    Nothing in the file is executed.

    Raises UserError that names the file and the array at fault.
    """
    check_readable(file)
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive can raise nearly anything
        raise UserError(f"{file}: not a readable .npz file of arrays: {error}") from None
    known = ("images", "labels", "classes", "test_images", "test_labels")
    for name in arrays:
        if name not in known:
            raise UserError(f"{file}: has an array {name}; it may have {', '.join(known)}")
    if "images" not in arrays:
        raise UserError(f"{file}: has no array images; write one with numpy.savez")
    return from_arrays(
        arrays["images"],
        arrays.get("labels"),
        classes=_names(arrays["classes"], file) if "classes" in arrays else None,
        test=(arrays["test_images"], arrays.get("test_labels"))
        if "test_images" in arrays
        else None,
        name=str(file),
    )


def from_arrays(
    images: Any,
    labels: Any = None,
    *,
    classes: list[str] | None = None,
    test: tuple[Any, Any] | None = None,
    name: str = "the images",
) -> DatasetSource:
    """Return arrays or tensors of images, and of labels if there are any, as a dataset.

    Parameters
    ----------
    images : uint8, in one of the forms of `read_arrays`
    labels : integers (n,), optional
    classes : list of str, optional
        Names of the classes; by default their numbers.
    test : (images, labels or None), optional
        Test images; by default a fifth of the images, always the same.
    name : str
        What error messages call the images.

    Raises UserError that names what is wrong.
    """
    train = _image_set(images, labels, name)
    if test is None:
        if len(train) < _FEWEST:
            raise UserError(f"{name}: {len(train)} images; give at least {_FEWEST}")
        train, tested = train.shuffled(_ORDER_SEED).divided(len(train) // _TEST_SHARE)
    else:
        tested = _image_set(*test, f"{name}: test images")
        if (labels is None) != (test[1] is None):
            raise UserError(f"{name}: give labels for the test images too, or for none")
        if tested.shape != train.shape:
            raise UserError(f"{name}: images are {train.shape}, test images {tested.shape}")
    if labels is None:
        return DatasetSource([], train, tested)
    count = 1 + max(int(part.labels.max()) for part in (train, tested))
    classes = classes or [str(number) for number in range(count)]
    if count > len(classes):
        raise UserError(f"{name}: labels reach {count - 1}, but there are {len(classes)} classes")
    return DatasetSource(classes, train, tested)


def image_tensor(images: Any, name: str) -> Tensor:
    """Return images as uint8 (n, channels, height, width).

    Raises UserError unless they are 8-bit images in one of the forms of `read_arrays`.
    """
    tensor = _tensor(images, f"{name}: images")
    if tensor.dtype != torch.uint8:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UserError(f"{name}: images are {kind}; give pixels of 0 .. 255 as uint8")
    if tensor.ndim == 3:
        tensor = tensor.unsqueeze(1)
    if tensor.ndim != 4 or 0 in tensor.shape:
        raise UserError(
            f"{name}: images have shape {tuple(tensor.shape)}; give (n, height, width, channels), "
            "(n, channels, height, width) or (n, height, width)"
        )
    if tensor.shape[1] not in _CHANNELS and tensor.shape[3] in _CHANNELS:
        tensor = tensor.permute(0, 3, 1, 2)
    return tensor.contiguous()


def _names(classes: np.ndarray, file: Path) -> list[str]:
    """Return the names of classes, which may also be bytes or numbers."""
    if classes.ndim != 1 or classes.dtype.kind not in "USiu":
        raise UserError(f"{file}: classes is no list of names")
    return [
        name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in classes
    ]


def _tensor(array: Any, name: str) -> Tensor:
    """Return an array as a tensor. Raises UserError if its elements are no numbers."""
    try:
        return torch.as_tensor(np.ascontiguousarray(array))
    except (TypeError, ValueError):
        kind = getattr(array, "dtype", type(array).__name__)
        raise UserError(f"{name} are {kind}, not numbers") from None


def _image_set(images: Any, labels: Any, name: str) -> ImageSet:
    tensor = image_tensor(images, name)
    if labels is None:
        return ImageSet(tensor, torch.full((len(tensor),), UNLABELLED))
    numbers = _tensor(labels, f"{name}: labels")
    if numbers.shape != (len(tensor),):
        raise UserError(
            f"{name}: labels have shape {tuple(numbers.shape)}, there are {len(tensor)} images"
        )
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise UserError(f"{name}: labels are not integers")
    if int(numbers.min()) < 0:
        raise UserError(f"{name}: label {int(numbers.min())} is negative; classes count from 0")
    return ImageSet(tensor, numbers.to(torch.int64))
