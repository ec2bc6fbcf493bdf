"""The options that name images for a bundle's network, and its float network; what they name."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from golden.bundle import Bundle
from golden.errors import UserError
from quant.data.registry import Dataset, images_for_bundle, load_for_bundle
from quant.frontend.lowering import lower
from quant.frontend.onnx.open_file import import_onnx
from quant.networks.model import Recipe
from quant.networks.own_models import OWN_RECIPE, build_own, own_model
from quant.networks.registry import MODELS
from quant.networks.weights import load_weights
from quant.pipeline.network_options import DATASET_HELP, MODEL_HELP
from quant.runtime.threads import set_threads_for

__all__ = [
    "ACCURACY",
    "AGREEMENT",
    "BundleImages",
    "add_image_options",
    "dropout_provenance",
    "images_of",
]

ACCURACY, AGREEMENT = "top-1 %", "same class %"
"""The headings of the share of right answers, for images with labels and without."""

_DROPOUT = "dropout"
_BATCH = 50


@dataclass(frozen=True)
class BundleImages:
    """Images for a bundle's network, and what is known of its training."""

    dataset: Dataset
    recipe: Recipe
    """That of the built-in network, or the one for any other."""
    dropout: dict[str, float]
    """Layer -> the share of its input that training sets to zero."""

    @property
    def measure(self) -> str:
        """The heading of the share of right answers in a table."""
        return ACCURACY if self.dataset.labelled else AGREEMENT


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `images_of` reads."""
    add = parser.add_argument
    default = "the one that the bundle was made with, or digits"
    add("--dataset", metavar="NAME", help=f"{DATASET_HELP} (default: {default})")
    add("--data", type=Path, metavar="DIR", help="the built-in dataset's folder or its parent")
    model = (
        "the float network that the bundle was made of: images without labels get its classes "
        f"(default: those of the bundle's network without ZAP); {MODEL_HELP}"
    )
    add("--model", metavar="NAME", help=model)
    add("--weights", type=Path, metavar="FILE", help="the weights of --model")


def images_of(bundle: Bundle, args: argparse.Namespace) -> BundleImages:
    """Read the images that the options name.

    Where they have no labels, held-out and test images get the classes of the float network if
    --model names it, else those of the bundle's network without ZAP.

    Raises UserError as `load_for_bundle` does, and where the float network does not fit the bundle.
    """
    provenance = bundle.manifest.provenance
    name = args.dataset or str(provenance.get("dataset") or "digits")
    known = args.model or str(provenance.get("model"))
    recipe = MODELS[known].recipe if known in MODELS else OWN_RECIPE
    if args.model is None:
        if args.weights is not None:
            raise UserError("--weights go with --model, which says whose they are")
        dataset = load_for_bundle(bundle, name, args.data)
        return BundleImages(dataset, recipe, _remembered_dropout(bundle))
    module = _float_network(bundle, args.model, args.weights)
    dataset = images_for_bundle(bundle, name, args.data)
    set_threads_for(dataset.shape)
    dataset.classes_for(len(bundle.manifest.classes))
    if not dataset.labelled:
        given = bundle.manifest.input
        model = own_model(module, tuple(given.mean), tuple(given.std))
        held_out, test = (
            part.labelled_by(lambda pixels: module(model.normalise(pixels)), _BATCH)
            for part in (dataset.held_out, dataset.test)
        )
        dataset = replace(dataset, held_out=held_out, test=test)
    return BundleImages(dataset, recipe, lower(module, dataset.shape).dropout())


def dropout_provenance(dropout: dict[str, float]) -> dict[str, str]:
    """Return what the provenance of a bundle remembers of a network's dropout."""
    text = " ".join(f"{layer}={share:g}" for layer, share in dropout.items())
    return {_DROPOUT: text} if text else {}


def _remembered_dropout(bundle: Bundle) -> dict[str, float]:
    """Return the dropout that a bundle remembers; an older one of a built-in network has it too."""
    manifest = bundle.manifest
    name = manifest.provenance.get("model")
    if _DROPOUT not in manifest.provenance and name in MODELS:
        module = MODELS[str(name)].build(len(manifest.classes)).eval()
        return lower(module, manifest.activations[manifest.input.tensor].shape).dropout()
    pairs = (pair.split("=") for pair in str(manifest.provenance.get(_DROPOUT, "")).split())
    return {layer: float(share) for layer, share in pairs}


def _float_network(bundle: Bundle, name: str, weights: Path | None) -> nn.Module:
    """Return the module that --model and --weights name, in eval mode."""
    manifest = bundle.manifest
    shape, classes = manifest.activations[manifest.input.tensor].shape, len(manifest.classes)
    if name.endswith(".onnx"):
        if weights is not None:
            raise UserError(f"{name} has its weights: leave out --weights")
        module: nn.Module = import_onnx(Path(name), shape)
    elif name in MODELS:
        module = MODELS[name].build(classes).eval()
        if weights is None:
            raise UserError(f"--model {name}: give its --weights")
    else:
        module = build_own(name, classes)
    if weights is not None:
        load_weights(module, weights, classes)
    graph = lower(module, shape)
    if graph.shapes[graph.output][0] != classes:
        raise UserError(
            f"--model {name} has {graph.shapes[graph.output][0]} classes, the bundle's network has "
            f"{classes}"
        )
    return module
