"""A built-in network: how it is built, what its input is, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from golden.errors import UserError

__all__ = ["Model", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained from scratch: one learning-rate cycle, images shifted and mirrored.

    Parameters
    ----------
    optimiser : "adamw" or "sgd"
        SGD with Nesterov momentum 0.9.
    learning_rate : float
        At the peak of the cycle.
    shift : int
        Images are moved by up to this many pixels each way, zeros moving in.
    flip : bool
        Half of them are mirrored left to right.
    label_smoothing : float
        The share of the target that is spread evenly over all classes.
    erased : int
        Training sets a square of up to this many pixels a side to zero, at a place drawn anew for
        each image (DeVries & Taylor, *Cutout*). Images augmented for other purposes stay whole.
    fine_tuning_rate : float
        The learning rate at the start of fine-tuning (`quant.training.fine_tuning`). BN is folded
        then.
    """

    epochs: int
    batch: int
    optimiser: Literal["adamw", "sgd"]
    learning_rate: float
    weight_decay: float
    shift: int
    flip: bool
    label_smoothing: float = 0
    erased: int = 0
    fine_tuning_rate: float = 1e-3


@dataclass(frozen=True)
class Model:
    """A built-in network.

    Parameters
    ----------
    build : number of classes -> untrained module
    dataset : str
        What it is for, unless the user says otherwise.
    mean, std : one number for each input channel
        Its input is (pixel - mean) / std.
    sigma : float
        A ZAP threshold that costs little accuracy: the default.
    recipe : Recipe
        How `quant.train` trains it, and how images are augmented wherever its training images are.
    """

    build: Callable[[int], nn.Module]
    dataset: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sigma: float
    recipe: Recipe

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels of 0 .. 1, (n, channels, h, w), as the network wants them."""
        mean, std = (pixels.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std

    def check_channels(self, shape: tuple[int, int, int], dataset: str) -> None:
        """Raise UserError where images of a dataset's shape have other channels."""
        if shape[0] != len(self.mean):
            raise UserError(
                f"the model takes images of {len(self.mean)} channels, {dataset} has {shape[0]}"
            )
