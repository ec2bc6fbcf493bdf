"""The registry of built-in networks.

To add a network, add an entry to `MODELS`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from quant.networks.alexnet import AlexNet, CifarAlexNet
from quant.networks.cifar_resnet import CifarResNet
from quant.networks.digits import Digits
from quant.networks.model import Model, Recipe
from quant.networks.resnet import ResNet18
from quant.networks.vgg import CifarVgg16, Vgg16

__all__ = ["INPUTS", "MODELS"]

INPUTS = {
    "digits": ((1, 8, 8), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "imagenet": ((3, 224, 224), 1000),
}
"""Dataset that a built-in network is for -> (channels, height, width) of an image, and classes."""


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
"""For networks without BN: they diverge at the usual rates of SGD."""
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

# As published, except that the learning rate goes through one cycle, and that all use AlexNet's
# augmentation.
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
    """Return a network whose input is normalised as pretrained files of these names expect it."""
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
