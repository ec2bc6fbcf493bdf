"""The images that networks are simulated on."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import quantise_images
from quant.data.registry import DATASETS, load

__all__ = ["held_out_image", "input_image"]


def held_out_image(bundle: Bundle, data: Path | None, index: int) -> tuple[Tensor, int]:
    """Return an image that the bundle was not trained on, and its label.

    `data` is the folder of the bundle's dataset. Pixels are float (channels, height, width) of
    0 .. 1. Raises UserError where the bundle names no dataset, or `data` does not have it.
    """
    dataset = str(bundle.manifest.provenance.get("dataset"))
    if dataset not in DATASETS:
        raise UserError(f"the bundle's dataset {dataset!r} is none of {', '.join(DATASETS)}")
    test = load(dataset, data).test
    if not 0 <= index < len(test):
        raise UserError(f"image {index}: {dataset} has held-out images 0 to {len(test) - 1}")
    return test.pixels(slice(index, index + 1))[0], int(test.labels[index])


def input_image(bundle: Bundle, data: Path | None, index: int) -> Tensor:
    """Return a quantised image for a network, int32 (channels, height, width).

    It is a held-out image of the bundle's dataset. Where that needs a folder and `data` is None, a
    random texture takes its place: the comparison with golden is as strict on it.
    """
    try:
        pixels, _ = held_out_image(bundle, data, index)
    except UserError:
        if data is not None:
            raise
        size = bundle.manifest.activations[bundle.manifest.input.tensor].shape[-1]
        pixels = load(f"textures-{size}", None).test.pixels(slice(index, index + 1))[0]
    return quantise_images(bundle, pixels[None])[0]
