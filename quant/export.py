"""Export a network as a bundle for the accelerator.

    python quant/export.py [--model NAME] [--weights FILE] [--dataset NAME] [--data DIR] ...

Trains the network or loads its weights, quantises it, trains and quantises its zero-activation
predictors (ZAPs), measures the result on the test images and writes the bundle. With no arguments
it trains the digits network and writes build/digits. The same seed on the same machine writes the
same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

if __package__ in (None, ""):  # run as a script: make the repository's packages importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from golden.bundle import Bundle, check_replaceable
from golden.pattern import MASKS, Pattern
from quant.data.registry import DATASETS, Dataset, load
from quant.frontend.lowering import lower
from quant.networks.model import Model
from quant.networks.registry import MODELS
from quant.networks.weights import load_weights
from quant.pipeline.quantised_network import quantised_network
from quant.points.accounting import Evaluation
from quant.points.evaluation import evaluate
from quant.points.operating_points import add_operating_point, with_figures
from quant.quantise.integer_network import WEIGHT_BITS
from quant.runtime import processes
from quant.runtime.determinism import be_deterministic
from quant.runtime.options import parse_sigma, per_layer, positive
from quant.runtime.outputs import check_outputs
from quant.runtime.threads import set_threads_for
from quant.training.trainer import float_top1, train
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.saved_zaps import save_zaps
from quant.zap.training import train_zaps

_DEFAULT_PATTERN = MASKS["B"]
_CALIBRATION_IMAGES = 1024
_ZAP_EPOCHS = 5
_ZAP_IMAGES_SEEN = 16_000
"""A small dataset is gone through more often, until the ZAPs have seen so many images."""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quant/export.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), default="digits", help="the network (default: digits)")
    add("--weights", type=Path, metavar="FILE", help="a state dict (default: train the network)")
    add("--dataset", choices=sorted(DATASETS), help="the images (default: the model's own dataset)")
    add("--data", type=Path, metavar="DIR", help="the dataset's folder or its parent")
    pattern = "A, B, C, D or PERIOD:BITS for all layers, LAYER=PATTERN for one layer (default: B)"
    add("--pattern", nargs="+", action="extend", default=[], help=pattern)
    also = "train predictors for these patterns too, besides those of the operating point"
    add("--also-pattern", nargs="+", action="extend", default=[], metavar="PATTERN", help=also)
    sigma = "threshold for all layers, LAYER=SIGMA for one layer (default: the model's own)"
    add("--sigma", nargs="+", action="extend", default=[], help=sigma)
    epochs = "epochs of ZAP training (default: 5, more on a small dataset)"
    add("--zap-epochs", type=positive, metavar="N", help=epochs)
    bits = f"width of the ZAPs' weights in bits (default: {WEIGHT_BITS})"
    add("--zap-bits", type=int, choices=range(2, 9), default=WEIGHT_BITS, help=bits)
    add("--save-zaps", type=Path, metavar="FILE", help="also write the ZAPs in float to FILE")
    images = "training images that the ZAPs learn from (default: all)"
    add("--zap-images", type=positive, metavar="N", help=images)
    add("--out", type=Path, metavar="DIR", help="the bundle's directory (default: build/MODEL)")
    seed = "of weights, orders and augmentation (default: 1)"
    add("--seed", type=int, default=1, help=seed)
    device = "the device that trains and runs in float (default: cpu)"
    add("--device", choices=("cpu", "cuda"), default="cpu", help=device)
    return parser


def main() -> None:
    """Run the command line: write one bundle, with the operating point `default`."""
    args = _arguments().parse_args()
    out = args.out or Path("build") / args.model
    check_replaceable(out)
    check_outputs(args.save_zaps)
    processes.check_device(args.device)
    model = MODELS[args.model]
    dataset = load(args.dataset or model.dataset, args.data)
    set_threads_for(dataset.shape)
    model.check_channels(dataset.shape, dataset.name)
    torch.manual_seed(args.seed)
    be_deterministic()
    module = model.build(len(dataset.classes)).eval()
    # The module is lowered before any training too, so that one that does not fit fails now.
    layers = [layer.name for layer in lower(module, dataset.shape).zap_sites()]
    patterns = per_layer(args.pattern, layers, Pattern.parse, _DEFAULT_PATTERN)
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
    bundle = quantised_network(
        module.cpu(), model, calibration, name=args.model, classes=dataset.classes
    )
    images = dataset.train.sample(args.zap_images or len(dataset.train), args.seed)
    epochs = args.zap_epochs or max(_ZAP_EPOCHS, _ZAP_IMAGES_SEEN // len(images))
    zaps = train_zaps(bundle, sites, images, epochs=epochs, seed=args.seed, device=args.device)
    bundle = add_zaps(bundle, zaps, calibration, bits=args.zap_bits)
    if args.save_zaps is not None:
        save_zaps(zaps, args.save_zaps)

    choice = {name: (patterns[name], sigmas[name]) for name in layers}
    bundle = add_operating_point(bundle, "default", choice)
    dense = evaluate(bundle, {}, dataset.test, "evaluating int8")
    sparse = evaluate(*bundle.at("default"), dataset.test, "evaluating int8 + ZAP")
    bundle = with_figures(bundle, "default", {"measured": sparse.figures(dense)})
    provenance = {
        "model": args.model,
        "dataset": dataset.name,
        "weights_sha256": _digest(args.weights),
        "seed": args.seed,
        "zap_epochs": epochs,
        "zap_bits": args.zap_bits,
        "zap_images": len(images),
        "float_top1": float_accuracy,
        "int8_top1": dense.top1,
    }
    manifest = bundle.manifest.model_copy(update={"provenance": provenance})
    if processes.is_first():
        Bundle(manifest, bundle.tensors).save(out)
    _report(float_accuracy, dense, sparse)
    Console().print(f"wrote {out}")


def _obtain_weights(
    module: nn.Module, model: Model, dataset: Dataset, args: argparse.Namespace
) -> None:
    """Load the weights if they are given, else train the network."""
    if args.weights is not None:
        load_weights(module, args.weights, len(dataset.classes))
    else:
        train(model, module, dataset.train, model.recipe, seed=args.seed, device=args.device)


def _digest(file: Path | None) -> str | None:
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def _report(float_accuracy: float, dense: Evaluation, sparse: Evaluation) -> None:
    """Print the accuracies, and one line for each convolution."""
    accuracy = Table("network", "top-1 %", title=f"accuracy on {dense.images} test images")
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
