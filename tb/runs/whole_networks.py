"""The networks that are simulated and measured whole, and where their bundles come from.

A bundle with trained weights is taken where there is one; else the network is made with random
weights and predictors fitted to them (`quant.pipeline.untrained_bundle`), once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from golden.bundle import MANIFEST, Bundle
from golden.errors import UserError
from golden.network import quantise_images
from quant.data.registry import load
from quant.pipeline.untrained_bundle import untrained_bundle
from tb.runs.bundle_layers import held_out_image

__all__ = ["MEMORY_END", "NETWORKS", "Example", "image"]

MEMORY_END = 1 << 28
"""Holds the largest of them, so that one build of a core's simulation serves all."""


_BUILD = Path("build")
_BUNDLES = Path("examples/bundles")
_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Example:
    """A network to be run whole.

    Parameters
    ----------
    model : str
        In `quant.networks.registry`.
    config : str
        The core that it is run on, unless the user says otherwise.
    trained : Path, optional
        Where a bundle with trained weights lies, if there is one.
    point : str
        The operating point of that bundle.
    """

    model: str
    config: str = "default"
    trained: Path | None = None
    point: str = "default"

    @property
    def is_trained(self) -> bool:
        """Whether the bundle with trained weights is there."""
        return self.trained is not None and (self.trained / MANIFEST).is_file()

    def bundle(self) -> tuple[Bundle, str]:
        """The bundle, made if need be, and its operating point."""
        if self.trained is not None and self.is_trained:
            return Bundle.load(self.trained), self.point
        folder = _BUILD / f"{self.model}-untrained"
        if not (folder / MANIFEST).is_file():
            untrained_bundle(self.model, _SEED).save(folder)
        return Bundle.load(folder), "default"


NETWORKS = {
    "digits": Example(model="digits", config="small", trained=_BUILD / "digits"),
    "resnet20": Example(model="resnet20", trained=_BUILD / "resnet20-points", point="max-drop-1"),
    "alexnet-cifar-half": Example(
        model="alexnet-cifar-half", trained=_BUNDLES / "alexnet-cifar-half", point="max-drop-1"
    ),
    "vgg16-cifar-quarter": Example(
        model="vgg16-cifar-quarter", trained=_BUNDLES / "vgg16-cifar-quarter", point="max-drop-1"
    ),
    "alexnet-cifar": Example(model="alexnet-cifar"),
    "resnet18": Example(model="resnet18"),
    "alexnet": Example(model="alexnet"),
    "vgg16": Example(model="vgg16"),
}
"""Name on the command line -> network, smaller ones first."""


def image(bundle: Bundle, data: Path | None, index: int) -> torch.Tensor:
    """A quantised image, int32 (channels, height, width), of the bundle's dataset if `data` has it.

    Without `data` it is a texture where it must: the comparison with golden is none the worse.
    """
    try:
        pixels, _ = held_out_image(bundle, data, index)
    except UserError:
        if data is not None:
            raise
        size = bundle.manifest.activations[bundle.manifest.input.tensor].shape[-1]
        pixels = load(f"textures-{size}", None).test.pixels(slice(index, index + 1))[0]
    return quantise_images(bundle, pixels[None])[0]
