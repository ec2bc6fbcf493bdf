"""The registry of built-in networks, and how weights get into them.

A network is one entry of `MODELS`; add one there.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from golden.errors import UserError
from quant.networks.alexnet import AlexNet, CifarAlexNet
from quant.networks.cifar_resnet import CifarResNet
from quant.networks.digits import Digits
from quant.networks.resnet import ResNet18
from quant.networks.vgg import CifarVgg16, Vgg16

__all__ = ["MODELS", "Model", "Recipe", "load_weights"]


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

    def check_takes(self, shape: tuple[int, int, int], dataset: str) -> None:
        """Raise UserError where images of a dataset's shape have other channels."""
        if shape[0] != len(self.mean):
            raise UserError(
                f"the model takes images of {len(self.mean)} channels, {dataset} has {shape[0]}"
            )


_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CIFAR10 = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
_CIFAR100 = {"mean": (0.5071, 0.4865, 0.4409), "std": (0.2673, 0.2564, 0.2762)}

_DIGITS = Recipe(
    epochs=40,
    batch=64,
    optimiser="adamw",
    learning_rate=4e-3,
    weight_decay=1e-2,
    shift=1,
    flip=False,
)
_PLAIN = Recipe(
    epochs=16,
    batch=128,
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=5e-2,
    shift=4,
    flip=True,
    fine_tuning_rate=3e-4,
)
"""For networks without BN, which diverge at SGD's usual rates."""
_NORMALISED = Recipe(
    epochs=40,
    batch=128,
    optimiser="sgd",
    learning_rate=0.2,
    weight_decay=5e-4,
    shift=4,
    flip=True,
)
"""For networks with BN."""
_CIFAR_ALEXNET = replace(_PLAIN, epochs=60, learning_rate=7e-4, label_smoothing=0.1, erased=8)
_CIFAR_WIDE = replace(_NORMALISED, epochs=30, learning_rate=0.1, label_smoothing=0.1)
"""For networks with BN at their published widths."""

# As published, but that the learning rate goes through one cycle; all with AlexNet's augmentation.
_IMAGENET_ALEXNET = Recipe(
    epochs=90,
    batch=128,
    optimiser="sgd",
    learning_rate=0.01,
    weight_decay=5e-4,
    shift=16,
    flip=True,
)
_IMAGENET_VGG = replace(_IMAGENET_ALEXNET, epochs=74, batch=256)
_IMAGENET_RESNET = replace(_IMAGENET_VGG, epochs=90, learning_rate=0.1, weight_decay=1e-4)


def _cifar_resnet(blocks: int) -> Model:
    """Normalised as the pretrained files that share its names want it."""
    build = partial(CifarResNet, blocks)
    return Model(build, "cifar10", **_IMAGENET, sigma=0.1, recipe=_NORMALISED)


MODELS = {
    "digits": Model(Digits, "digits", mean=(0.0,), std=(1.0,), sigma=0.3, recipe=_DIGITS),
    "resnet20": _cifar_resnet(3),
    "resnet32": _cifar_resnet(5),
    "resnet44": _cifar_resnet(7),
    "resnet56": _cifar_resnet(9),
    "resnet18-cifar": Model(
        partial(ResNet18, small_images=True), "cifar10", **_CIFAR10, sigma=0.1, recipe=_CIFAR_WIDE
    ),
    "alexnet-cifar": Model(CifarAlexNet, "cifar100", **_CIFAR100, sigma=0.3, recipe=_CIFAR_ALEXNET),
    "alexnet-cifar-half": Model(
        partial(CifarAlexNet, width=0.5), "cifar100", **_CIFAR100, sigma=0.3, recipe=_PLAIN
    ),
    "vgg16-cifar": Model(CifarVgg16, "cifar10", **_CIFAR10, sigma=0.2, recipe=_CIFAR_WIDE),
    "vgg16-cifar-quarter": Model(
        partial(CifarVgg16, width=0.25), "cifar10", **_CIFAR10, sigma=0.2, recipe=_NORMALISED
    ),
    "alexnet": Model(AlexNet, "imagenet", **_IMAGENET, sigma=0.3, recipe=_IMAGENET_ALEXNET),
    "vgg16": Model(Vgg16, "imagenet", **_IMAGENET, sigma=0.2, recipe=_IMAGENET_VGG),
    "resnet18": Model(ResNet18, "imagenet", **_IMAGENET, sigma=0.1, recipe=_IMAGENET_RESNET),
}
"""Name on the command line -> network."""


def load_weights(module: nn.Module, file: Path, classes: int) -> None:
    """Fill a module from a saved state dict, bare or under the key `state_dict`.

    `classes` is how many the module tells apart. A `module.` before the names (left by
    DataParallel) is dropped. Nothing in the file is executed.
    Raises UserError naming the file and the entry that is missing, unknown, misshapen, not finite,
    or how many classes the file is for.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file}: not found") from None
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: not a readable state dict: {reason}") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file}: holds no state dict")
    state = {name.removeprefix("module."): value for name, value in state.items()}

    wanted = module.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            if not name.endswith("num_batches_tracked"):  # older files lack it, nothing uses it
                raise UserError(f"{file}: {name}: missing; the file is for another model")
        elif name not in wanted:
            raise UserError(f"{file}: {name}: unknown to the model; the file is for another one")
        elif state[name].shape != wanted[name].shape:
            found, mine = tuple(state[name].shape), tuple(wanted[name].shape)
            if found and mine == (classes, *found[1:]):
                raise UserError(f"{file}: {name}: is for {found[0]} classes, not for {classes}")
            raise UserError(f"{file}: {name}: has shape {found}, the model's has {mine}")
        elif not bool(state[name].isfinite().all()):
            raise UserError(f"{file}: {name}: contains NaN or infinity")
    module.load_state_dict(state, strict=False)
