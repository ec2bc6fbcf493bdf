"""Simulations run on the images that a bundle was exported with, also on the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import Network, quantise_images
from quant.pipeline.convert import convert
from tb.runs.images import held_out_image, input_image
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
