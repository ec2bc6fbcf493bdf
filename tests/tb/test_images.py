"""Simulations run on the images that a bundle was exported with, also on the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import Network, quantise_images
from quant.pipeline.convert import convert
from tb.runs.images import chosen_image, chosen_input, held_out_image, input_image
from tests.quant.tiny_networks import images

IMAGES = images(30, (1, 10, 9)).images


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()]
    module = nn.Sequential(*parts, nn.Flatten(), nn.Linear(4 * 6 * 5, 3))
    return convert(module, IMAGES, sigma=float("-inf"), zap_epochs=1)


def of_dataset(bundle: Bundle, name: object) -> Bundle:
    manifest = bundle.manifest.model_copy(update={"provenance": {"dataset": str(name)}})
    return Bundle(manifest, bundle.tensors)


def test_an_image_of_a_file_has_its_label_or_the_class_that_the_network_gives(
    bundle: Bundle, tmp_path: Path
) -> None:
    pixels = IMAGES.numpy()
    plain, labelled = tmp_path / "plain.npz", tmp_path / "labelled.npz"
    np.savez(plain, images=pixels, test_images=pixels[:5])
    labels = {"labels": np.full(30, 2), "test_labels": np.full(5, 1)}
    np.savez(labelled, images=pixels, test_images=pixels[:5], **labels)  # type: ignore[arg-type]
    for file in (plain, labelled):
        mine = of_dataset(bundle, file)
        image, label = held_out_image(mine, None, 3)
        assert torch.equal(image, IMAGES[3] / 255)
        integers = quantise_images(bundle, image[None])
        assert label == (1 if file is labelled else int(Network(bundle)(integers).argmax()))
        assert torch.equal(input_image(mine, None, 3), integers[0])
        with pytest.raises(UserError, match="has held-out images 0 to 4"):
            held_out_image(mine, None, 5)


def test_images_that_are_gone_are_named(bundle: Bundle) -> None:
    with pytest.raises(UserError, match=r"gone\.npz: not found"):
        input_image(of_dataset(bundle, "gone.npz"), None, 0)


def test_an_image_may_be_a_file(bundle: Bundle, tmp_path: Path) -> None:
    picture, array = tmp_path / "picture.png", tmp_path / "array.npy"
    pixels = IMAGES[2, 0].numpy()
    Image.fromarray(pixels).save(picture)
    np.save(array, pixels)
    for file in (picture, array):
        image, label = chosen_image(bundle, None, str(file))
        assert torch.equal(image, IMAGES[2] / 255)
        assert label is None


def test_a_chosen_input_is_that_image_quantised(bundle: Bundle, tmp_path: Path) -> None:
    array = tmp_path / "array.npy"
    np.save(array, IMAGES[2].numpy())
    assert torch.equal(
        chosen_input(bundle, None, str(array)), quantise_images(bundle, IMAGES[2:3] / 255)[0]
    )
    # A texture never takes the place of an image that the user asked for.
    photographs = of_dataset(bundle, "gone.npz")
    for textures in (False, True):
        with pytest.raises(UserError, match=r"gone\.npz: not found"):
            chosen_input(photographs, None, "1", textures=textures)


def test_a_larger_picture_is_scaled_to_the_network(bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    Image.fromarray(np.full((40, 36), 51, np.uint8)).save(file)
    image, _ = chosen_image(bundle, None, str(file))
    assert torch.equal(image, torch.full((1, 10, 9), 0.2))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.png", None, "not found; --image takes a number or a file"),
        ("broken.png", b"no image", "not a readable image"),
        ("broken.npy", b"no array", "not a readable .npy file"),
        ("floats.npy", np.zeros((10, 9)), "images are float64; give pixels of 0 .. 255 as uint8"),
        ("small.npy", np.zeros((4, 4), np.uint8), r"has shape \(1, 4, 4\), the network takes"),
    ],
    ids=["absent", "broken picture", "broken array", "floats", "size"],
)
def test_an_image_that_does_not_fit_is_refused(
    bundle: Bundle, tmp_path: Path, name: str, content: object, message: str
) -> None:
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, np.ndarray):
        np.save(file, content)
    with pytest.raises(UserError, match=message):
        chosen_image(bundle, None, str(file))
