"""The options that name a network and its images, and what they name."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from golden.arguments import positive
from golden.errors import UserError
from quant.data.registry import DATASETS, Dataset, OpenDataset, open_dataset
from quant.frontend.onnx.open_file import import_onnx, onnx_shape
from quant.networks.model import Model
from quant.networks.own_models import build_own, input_channels, own_model
from quant.networks.registry import MODELS
from quant.runtime.options import parse_number, parse_size
from quant.runtime.threads import set_threads_for

__all__ = ["DATASET_HELP", "MODEL_HELP", "NamedNetwork", "add_network_options", "named_network"]

DATASET_HELP = (
    f"the images: {', '.join(sorted(DATASETS))}; a FOLDER of images, in class folders or without "
    "labels; or a FILE.npz with images and perhaps labels"
)
MODEL_HELP = (
    f"{', '.join(MODELS)}; or FILE.py:NAME or package.module:NAME, where NAME is a "
    "module, or a class or a function that makes one. This runs the code of FILE.py. Or FILE.onnx"
)

_ONNX = ".onnx"


@dataclass(frozen=True)
class NamedNetwork:
    """A network and the images for it, as the options name them."""

    model: Model
    module: nn.Module
    """In eval mode. A built-in one has random weights, the user's has its own."""
    dataset: Dataset
    built_in: bool


def add_network_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the options that `named_network` reads; --model is required if there is no default."""
    add = parser.add_argument
    named = "the network" if default is None else f"the network (default: {default})"
    network = f"{named}: {MODEL_HELP}"
    add("--model", metavar="NAME", default=default, required=default is None, help=network)
    images = f"{DATASET_HELP} (default: the built-in network's own dataset)"
    add("--dataset", metavar="NAME", help=images)
    add("--data", type=Path, metavar="DIR", help="the built-in dataset's folder or its parent")
    size = (
        "scale the images of a FOLDER to N x N or H x W pixels, and take the middle (default: as "
        "a FILE.onnx states it, else as they are)"
    )
    add("--size", metavar="N|HxW", help=size)
    grey = "read the images of a FOLDER as grey (default: as many channels as the network takes)"
    add("--grey", action="store_true", help=grey)
    mean = (
        "the network's input is (pixel - mean) / std, for pixels that are divided by 255 before; "
        "one number, or one for each channel (default: 0, or the built-in network's own)"
    )
    add("--mean", nargs="+", metavar="M", help=mean)
    std = (
        "see --mean; a fraction can be given, for example 1/255 for a network that takes pixels of "
        "0 .. 255 (default: 1, or the built-in network's own)"
    )
    add("--std", nargs="+", metavar="S", help=std)
    classes = "number of classes to build the network for (default: as many as the images have)"
    add("--classes", type=positive, metavar="N", help=classes)


def named_network(args: argparse.Namespace) -> NamedNetwork:
    """Build the network and open the images that the options name.

    Weights that are random depend on `args.seed`. Raises UserError that names the option at fault.
    """
    size = None if args.size is None else parse_size(args.size)
    mean, std = _numbers(args.mean, "--mean"), _numbers(args.std, "--std")
    if args.model not in MODELS:
        return _own_network(args, size, mean, std)
    model = MODELS[args.model]
    opened = open_dataset(args.dataset or model.dataset, args.data, size)
    channels = len(model.mean)
    if args.grey and channels != 1:
        raise UserError(f"--grey: {args.model} takes images of {channels} channels")
    dataset = opened.read(channels)
    set_threads_for(dataset.shape)
    model.check_channels(dataset.shape, dataset.name)
    model = replace(
        model,
        mean=_per_channel(mean, model.mean, "--mean"),
        std=_per_channel(std, model.std, "--std"),
    )
    classes = _class_count(args, opened)
    if classes is None:
        raise UserError(f"{opened.name} has no labels; give the number of classes with --classes N")
    torch.manual_seed(args.seed)
    return NamedNetwork(model, model.build(classes).eval(), dataset, built_in=True)


def _own_network(
    args: argparse.Namespace,
    size: tuple[int, int] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> NamedNetwork:
    """Build the user's network."""
    torch.manual_seed(args.seed)
    if args.dataset is None:
        if not args.model.endswith(_ONNX):  # a name that is wrong is said first
            build_own(args.model, args.classes or 1)
        raise UserError(f"{args.model} has no dataset of its own: give its images with --dataset")
    stated: tuple[int | None, int | None, int | None] = (None, None, None)
    if args.model.endswith(_ONNX):
        stated = onnx_shape(Path(args.model))
        folder = args.dataset not in DATASETS and Path(args.dataset).is_dir()
        if folder and size is None and stated[1] and stated[2]:
            size = stated[1], stated[2]
    opened = open_dataset(args.dataset, args.data, size)
    if args.model.endswith(_ONNX):
        dataset = opened.read(1 if args.grey else stated[0] or 3)
        channels = dataset.shape[0]
        module: nn.Module = import_onnx(Path(args.model), dataset.shape)
    else:
        module = build_own(args.model, _class_count(args, opened))
        channels = input_channels(module)
        dataset = opened.read(channels)
    if args.grey and channels != 1:
        raise UserError(f"--grey: {args.model} takes images of {channels} channels")
    set_threads_for(dataset.shape)
    model = own_model(
        module,
        _per_channel(mean, (0.0,) * channels, "--mean"),
        _per_channel(std, (1.0,) * channels, "--std"),
    )
    model.check_channels(dataset.shape, dataset.name)
    return NamedNetwork(model, module, dataset, built_in=False)


def _class_count(args: argparse.Namespace, opened: OpenDataset) -> int | None:
    """Return the number of classes that options and images set; None if there are no labels."""
    return args.classes or len(opened.classes) or None


def _numbers(texts: list[str] | None, option: str) -> tuple[float, ...] | None:
    """Parse the numbers of --mean or --std."""
    if texts is None:
        return None
    numbers = tuple(parse_number(text, option) for text in texts)
    if option == "--std" and min(numbers) <= 0:
        raise UserError("--std must be positive")
    return numbers


def _per_channel(
    given: tuple[float, ...] | None, default: tuple[float, ...], option: str
) -> tuple[float, ...]:
    """Return one number for each channel; a single one is for all channels."""
    if given is None:
        return default
    if len(given) == 1:
        return given * len(default)
    if len(given) != len(default):
        raise UserError(
            f"{option} has {len(given)} numbers, the network takes images of {len(default)} "
            "channels; give one number, or one for each channel"
        )
    return given
