"""The images that networks are simulated on."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import Network, quantise_images
from golden.reading import check_readable
from quant.data.answers import classes_of
from quant.data.image_arrays import image_tensor
from quant.data.image_folders import ImageFiles, ImageForm
from quant.data.registry import DATASETS, images_for_bundle, load

__all__ = [
    "add_image_options",
    "chosen_image",
    "chosen_images",
    "chosen_input",
    "held_out_image",
    "input_image",
]


def add_image_options(parser: ArgumentParser) -> None:
    """Add the options --data and --image, whose values `chosen_image` takes."""
    parser.add_argument("--data", type=Path, help="folder of the bundle's dataset, if it has one")
    parser.add_argument(
        "--image", default="0", help="number of a held-out image, or a picture or .npy file"
    )


def chosen_image(bundle: Bundle, data: Path | None, image: str) -> tuple[Tensor, int | None]:
    """Return the image that a command's `--image` names, and its label if it is known.

    `image` is the number of a held-out image, or a file: a picture, which is scaled to the
    network's input, or a .npy of uint8 (height, width), (height, width, channels) or (channels,
    height, width). Pixels are float (channels, height, width) of 0 .. 1. Raises UserError where
    there is no such image, or it does not fit the network.
    """
    if re.fullmatch("[0-9]{1,9}", image):
        return held_out_image(bundle, data, int(image))
    file = Path(image)
    check_readable(file, "--image takes a number or a file")
    channels, height, width = bundle.manifest.activations[bundle.manifest.input.tensor].shape
    if file.suffix == ".npy":
        try:
            array = np.load(file, allow_pickle=False)
        except Exception as error:  # a damaged file can raise nearly anything
            raise UserError(f"{file}: not a readable .npy file: {error}") from None
        pixels = image_tensor(array[None], str(file))[0]
    else:
        form = ImageForm(channels, height, width)
        pixels = ImageFiles([str(file)], form)[torch.tensor([0])][0]
    if tuple(pixels.shape) != (channels, height, width):
        raise UserError(
            f"{file}: has shape {tuple(pixels.shape)}, the network takes images of"
            f" {(channels, height, width)}"
        )
    return pixels / 255, None


def chosen_input(
    bundle: Bundle, data: Path | None, image: str, *, textures: bool = False
) -> Tensor:
    """Return the image of `chosen_image` as the network's input, int32 (channels, height, width).

    With `textures`, one of those takes the place of image 0 as `input_image` says.
    """
    if textures and image == "0":
        return input_image(bundle, data, 0)
    pixels, _ = chosen_image(bundle, data, image)
    return quantise_images(bundle, pixels[None])[0]


def chosen_images(
    bundle: Bundle, data: Path | None, image: str, count: int
) -> tuple[Tensor, list[int | None]]:
    """Return as many images as a program runs at a time, and their labels, from `image` on.

    They are float (images, channels, height, width). Several are held-out images one after another;
    a file is taken for all of them. Raises UserError as `chosen_image` does.
    """
    first = int(image) if re.fullmatch("[0-9]{1,9}", image) else None
    names = [image if first is None else str(first + number) for number in range(count)]
    pairs = [chosen_image(bundle, data, name) for name in names]
    return torch.stack([pixels for pixels, _ in pairs]), [label for _, label in pairs]


def held_out_image(bundle: Bundle, data: Path | None, index: int) -> tuple[Tensor, int | None]:
    """Return an image that the bundle was not trained on, and its label.

    An image without one has none if the network gives a map.

    `data` is the folder of the bundle's dataset, if that is a built-in one. Pixels are float
    (channels, height, width) of 0 .. 1. An image that has no label gets the class that the network
    gives without ZAP. Raises UserError where the bundle names no dataset that can be read.
    """
    name = str(bundle.manifest.provenance.get("dataset"))
    dataset = images_for_bundle(bundle, name, data)
    test = dataset.test
    if not 0 <= index < len(test):
        raise UserError(f"image {index}: {name} has held-out images 0 to {len(test) - 1}")
    pixels = test.pixels(slice(index, index + 1))
    if dataset.labelled:
        return pixels[0], int(test.labels[index])
    classes = classes_of(_result(bundle, quantise_images(bundle, pixels)))
    return pixels[0], int(classes[0]) if classes.ndim == 1 else None


def _result(bundle: Bundle, images: Tensor) -> Tensor:
    """Return what the network gives without ZAP: int32 (images, channels, height, width)."""
    return Network(bundle).outputs(images)[bundle.manifest.output]


def input_image(bundle: Bundle, data: Path | None, index: int) -> Tensor:
    """Return a quantised image for a network, int32 (channels, height, width).

    It is a held-out image of the bundle's dataset. Where that needs a folder and `data` is None, a
    random texture takes its place, if there are textures of the size: the comparison with golden is
    as strict on it.
    """
    channels, _, size = bundle.manifest.activations[bundle.manifest.input.tensor].shape
    textures = f"textures-{size}"
    try:
        pixels, _ = held_out_image(bundle, data, index)
    except UserError:
        if data is not None or textures not in DATASETS or channels != 3:
            raise
        pixels = load(textures, None).test.pixels(slice(index, index + 1))[0]
    return quantise_images(bundle, pixels[None])[0]
