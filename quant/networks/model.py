"""The description of a built-in network: its construction, its input and its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from golden.errors import UserError

__all__ = ["Model", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings that a network is trained with: one learning-rate cycle, images moved.

    Parameters
    ----------
    optimiser : "adamw" or "sgd"
        SGD with Nesterov momentum 0.9.
    learning_rate : float
        The rate at the peak of the cycle.
    shift : int
        Images are moved by up to this many pixels in each direction; zeros move in.
    flip : bool
        Half of the images are mirrored left to right.
    label_smoothing : float
        The share of the target that is distributed evenly over all classes.
    erased : int
        Training sets a square of up to this many pixels a side to zero, at a random place in each
        image (DeVries & Taylor, *Cutout*). Images augmented for other purposes stay whole.
    fine_tuning_rate : float
        The learning rate at the start of fine-tuning (`quant.training.fine_tuning`), where BN is
        folded.
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
        The dataset that it is for. The user may name another one.
    mean, std : one number for each input channel
        The network's input is (pixel - mean) / std.
    sigma : float
        The default threshold of ZAPs, which costs little accuracy.
    recipe : Recipe
        How `quant.train` trains it, and how its training images are augmented for any purpose.
    """

    build: Callable[[int], nn.Module]
    dataset: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sigma: float
    recipe: Recipe

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return the network's input for pixels of 0 .. 1, (n, channels, h, w)."""
        mean, std = (pixels.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std

    def check_channels(self, shape: tuple[int, int, int], dataset: str) -> None:
        """Raise UserError if a dataset's images do not have as many channels as the input."""
        if shape[0] != len(self.mean):
            raise UserError(
                f"the model takes images of {len(self.mean)} channels, {dataset} has {shape[0]}"
            )
