"""From a network to a bundle: train or load, quantise, train and quantise the ZAPs, measure, write.

    python quant/export.py [--model NAME] [--weights FILE] [--dataset NAME] [--data DIR] ...

With no arguments it trains the digits network and writes build/digits. The same seed on the same
machine writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

if __package__ in (None, ""):  # run as a script: make the repository's rooms importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from golden.bundle import Bundle, check_replaceable
from golden.manifest import LayerChoice, OperatingPoint
from golden.pattern import MASKS, Pattern
from quant.data.registry import DATASETS, Dataset, Split, load
from quant.evaluate import evaluate
from quant.frontend.lowering import lower
from quant.networks.registry import MODELS, Model, load_weights
from quant.points.accounting import Evaluation
from quant.quantise.calibration import activation_scales
from quant.quantise.integer_network import WEIGHT_BITS, quantise
from quant.runtime import processes
from quant.runtime.options import parse_sigma, per_layer
from quant.runtime.threads import suit_threads
from quant.train import float_top1, train
from quant.zap.quantisation import add_zaps
from quant.zap.training import Site, save_zaps, train_zaps

__all__ = ["add_operating_point", "main"]

DEFAULT_PATTERN = MASKS["B"]
_CALIBRATION_IMAGES = 1024
_CALIBRATION_BATCH = 32
_ZAP_EPOCHS = 5
_ZAP_IMAGES_SEEN = 16_000
"""Five epochs of a small dataset are too few steps to learn in: then there are more epochs."""


def arguments() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="quant/export.py", description=__doc__)
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), default="digits")
    add("--weights", type=Path, help="a state dict; without it the network is trained")
    add("--dataset", choices=sorted(DATASETS), help="default: what the model is for")
    add("--data", type=Path, help="the dataset's folder or its parent")
    pattern = "A, B, C, D or PERIOD:BITS for all layers, LAYER=PATTERN for one (default: B)"
    add("--pattern", nargs="+", action="extend", default=[], help=pattern)
    also = "train predictors for these patterns too, beside the operating point's own"
    add("--also-pattern", nargs="+", action="extend", default=[], help=also)
    sigma = "threshold for all layers, LAYER=SIGMA for one (default: the model's own)"
    add("--sigma", nargs="+", action="extend", default=[], help=sigma)
    add("--zap-epochs", type=_positive, help="default: 5, more on a small dataset")
    add("--zap-bits", type=int, choices=range(2, 9), default=WEIGHT_BITS, help="of ZAP weights")
    add("--save-zaps", type=Path, metavar="FILE", help="keep the ZAPs in float too")
    add("--zap-images", type=_positive, help="train the ZAPs on so many images (default: all)")
    add("--out", type=Path, help="the bundle's directory (default: build/MODEL)")
    add("--seed", type=int, default=1)
    add("--device", choices=("cpu", "cuda"), default="cpu", help="what trains and runs in float")
    return parser


def main() -> None:
    """The command line: one bundle, with the operating point `default`."""
    args = arguments().parse_args()
    out = args.out or Path("build") / args.model
    check_replaceable(out)
    processes.check_device(args.device)
    model = MODELS[args.model]
    dataset = load(args.dataset or model.dataset, args.data)
    suit_threads(dataset.shape)
    model.check_takes(dataset.shape, dataset.name)
    torch.manual_seed(args.seed)
    _be_deterministic()
    module = model.build(len(dataset.classes)).eval()
    # Lowered once before any training, so that what does not fit fails now.
    layers = [layer.name for layer in lower(module, dataset.shape).zap_sites()]
    patterns = per_layer(args.pattern, layers, Pattern.parse, DEFAULT_PATTERN)
    sigmas = per_layer(args.sigma, layers, parse_sigma, model.sigma)
    spare = [Pattern.parse(text) for text in args.also_pattern]
    sites = [
        Site(layer, pattern)
        for layer in layers
        for pattern in dict.fromkeys([patterns[layer], *spare])
    ]

    _obtain_weights(module, model, dataset, args)
    float_accuracy = float_top1(model, module, dataset.test, device=args.device)
    calibration = dataset.train.sample(_CALIBRATION_IMAGES, args.seed)
    bundle = _quantised(module.cpu(), model, dataset, calibration, args.model)
    images = dataset.train.sample(args.zap_images or len(dataset.train), args.seed)
    epochs = args.zap_epochs or max(_ZAP_EPOCHS, _ZAP_IMAGES_SEEN // len(images))
    zaps = train_zaps(bundle, sites, images, epochs=epochs, seed=args.seed, device=args.device)
    bundle = add_zaps(bundle, zaps, calibration, bits=args.zap_bits)
    if args.save_zaps is not None:
        save_zaps(zaps, args.save_zaps)

    choices = {name: (patterns[name], sigmas[name]) for name in layers}
    bundle = add_operating_point(bundle, "default", choices)
    dense = evaluate(bundle, {}, dataset.test, "evaluating int8")
    point = bundle.manifest.operating_points[0]
    sparse = evaluate(*bundle.at("default"), dataset.test, "evaluating int8 + ZAP")
    manifest = bundle.manifest.model_copy(
        update={
            "operating_points": [point.model_copy(update={"measured": sparse.figures(dense)})],
            "provenance": {
                "model": args.model,
                "dataset": dataset.name,
                "weights_sha256": _digest(args.weights),
                "seed": args.seed,
                "zap_epochs": epochs,
                "zap_bits": args.zap_bits,
                "zap_images": len(images),
                "float_top1": float_accuracy,
                "int8_top1": dense.top1,
            },
        }
    )
    if processes.is_first():
        Bundle(manifest, bundle.tensors).save(out)
    _report(float_accuracy, dense, sparse)
    Console().print(f"wrote {out}")


def add_operating_point(
    bundle: Bundle,
    name: str,
    choices: Mapping[str, tuple[Pattern, float | np.ndarray]],
    network: Bundle | None = None,
) -> Bundle:
    """The bundle with one more operating point: layer -> (pattern, sigma or one for each channel).

    `network` is the bundle with layers adapted to the point, where they were.
    """
    layers = {}
    adapted: dict[str, list[str]] = {}
    tensors = dict(bundle.tensors)
    for layer, (pattern, sigma) in choices.items():
        predictor = Site(layer, pattern).name
        layers[layer] = LayerChoice(
            predictor=predictor, sigma=None if isinstance(sigma, np.ndarray) else sigma
        )
        table = bundle.threshold(predictor, sigma)
        tensors[f"operating_points.{name}.{layer}.threshold"] = table
    for tensor, value in ({} if network is None else network.tensors).items():
        room, _, path = tensor.partition(".")
        if room == "layers" and not torch.equal(value, bundle.tensors[tensor]):
            layer, _, field = path.rpartition(".")
            adapted.setdefault(layer, []).append(field)
            tensors[f"operating_points.{name}.{path}"] = value
    point = OperatingPoint(name=name, layers=layers, adapted=adapted)
    points = [*bundle.manifest.operating_points, point]
    return Bundle(bundle.manifest.model_copy(update={"operating_points": points}), tensors)


def _be_deterministic() -> None:
    """Let PyTorch use no algorithm whose result may differ between two runs."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS refuses to work
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that was not written, and filling it costs a fifth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _quantised(
    module: nn.Module, model: Model, dataset: Dataset, calibration: Split, name: str
) -> Bundle:
    """The integer network of a trained module, its ranges from the images of `calibration`."""
    graph = lower(module, dataset.shape)
    batches = [model.normalise(pixels) for pixels, _ in calibration.batches(_CALIBRATION_BATCH)]
    scales = activation_scales(graph, model, batches)
    return quantise(graph, scales, model, name=name, classes=dataset.classes)


def _obtain_weights(
    module: nn.Module, model: Model, dataset: Dataset, args: argparse.Namespace
) -> None:
    """Load the weights where they are given, else train the network."""
    if args.weights is not None:
        load_weights(module, args.weights, len(dataset.classes))
    else:
        train(model, module, dataset.train, model.recipe, seed=args.seed, device=args.device)


def _digest(file: Path | None) -> str | None:
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _report(float_accuracy: float, dense: Evaluation, sparse: Evaluation) -> None:
    """Accuracies and one line for each convolution, on stdout."""
    accuracy = Table("network", "top-1 %", title=f"accuracy on {dense.images} held-out images")
    accuracy.add_row("float", f"{float_accuracy:.2f}")
    accuracy.add_row("int8", f"{dense.top1:.2f}")
    accuracy.add_row("int8 + ZAP", f"{sparse.top1:.2f}")
    layers = Table("layer", title="convolutions with ZAP")
    for heading in ("MACs", "predicted zero %", "of those wrong %"):
        layers.add_column(heading, justify="right")
    for layer in sparse.layers:
        shares = (layer.skipped_share, layer.wrong_share) if layer.zap else ()
        layers.add_row(layer.name, f"{layer.macs:,}", *(f"{100 * share:.2f}" for share in shares))
    layers.add_section()
    total = sum(layer.macs for layer in sparse.layers)
    saved, wrong = 100 * sparse.mac_reduction, 100 * sparse.wrong_share
    layers.add_row("all", f"{total:,}", f"{saved:.2f} of MACs", f"{wrong:.2f}")
    console = Console()
    console.print(accuracy)
    console.print(layers)


if __name__ == "__main__":
    processes.run_parallel(main)
