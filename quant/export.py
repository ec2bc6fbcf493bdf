"""Export a network as a bundle for the accelerator.

    python quant/export.py [--model NAME] [--weights FILE] [--dataset NAME] [--data DIR] ...

Trains the network or loads its weights, quantises it, trains and quantises its zero-activation
predictors (ZAPs), measures the result on the test images and writes the bundle. With no arguments
it trains the digits network and writes build/digits. The same seed on the same machine writes the
same bytes.

The network is a built-in one, or the user's own: in a Python file or package, whose code is run, or
in an ONNX file. The images are a built-in dataset, a folder of images or a .npz file. Images
without labels do as well: then the share of images that are classified as the float network does is
measured, in place of accuracy.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: make the repository's packages importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import golden.command  # noqa: F401

import argparse
import hashlib

from rich.table import Table
from rich.text import Text

from golden.arguments import Parser, integer, positive, seed_number
from golden.bundle import Bundle, check_replaceable
from golden.errors import UserError
from golden.pattern import Pattern
from golden.reading import read_bytes
from golden.terminal import Console
from quant.frontend.imported import ImportedModule
from quant.frontend.lowering import lower
from quant.networks.own_models import safe_name
from quant.networks.weights import load_weights
from quant.pipeline.bundle_images import AGREEMENT, dropout_provenance
from quant.pipeline.convert import DEFAULT_PATTERN, Conversion, Zapping, convert_network
from quant.pipeline.network_options import NamedNetwork, add_network_options, named_network
from quant.pipeline.quantised_network import IMAGE_NOISE
from quant.quantise.integer_network import WEIGHT_BITS
from quant.runtime import processes
from quant.runtime.determinism import be_deterministic
from quant.runtime.options import parse_sigma, per_layer
from quant.runtime.outputs import check_outputs
from quant.training.trainer import train
from quant.zap.saved_zaps import save_zaps


def _arguments() -> argparse.ArgumentParser:
    parser = Parser(
        prog="quant/export.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_network_options(parser, default="digits")
    weights = (
        "a state dict of torch.save or safetensors (default: a built-in network is trained, the "
        "user's keeps the weights that its code gives it)"
    )
    add("--weights", type=Path, metavar="FILE", help=weights)
    add("--train", action="store_true", help="train the user's network, or go on from --weights")
    pattern = (
        "A, B, C, D, PERIOD:BITS or PERIOD:BITS:ROW_STEP for all layers, LAYER=PATTERN for one "
        "layer (default: B)"
    )
    add("--pattern", nargs="+", action="extend", default=[], help=pattern)
    also = "train predictors for these patterns too, besides those of the operating point"
    add("--also-pattern", nargs="+", action="extend", default=[], metavar="PATTERN", help=also)
    sigma = (
        "threshold for all layers, LAYER=SIGMA for one layer (default: the built-in network's own; "
        "0.1 for the user's)"
    )
    add("--sigma", nargs="+", action="extend", default=[], help=sigma)
    epochs = "epochs of ZAP training (default: 5, more on a small dataset)"
    add("--zap-epochs", type=positive, metavar="N", help=epochs)
    bits = f"width of the ZAPs' weights in bits (default: {WEIGHT_BITS})"
    add("--zap-bits", type=integer(2, 8), default=WEIGHT_BITS, help=bits)
    add("--save-zaps", type=Path, metavar="FILE", help="also write the ZAPs in float to FILE")
    images = "training images that the ZAPs learn from (default: all)"
    add("--zap-images", type=positive, metavar="N", help=images)
    test = "measure on the first N test images (default: all)"
    add("--test-images", type=positive, metavar="N", help=test)
    add("--out", type=Path, metavar="DIR", help="the bundle's directory (default: build/MODEL)")
    seed = "of weights, orders and augmentation (default: 1)"
    add("--seed", type=seed_number, default=1, help=seed)
    device = "the device that trains and runs in float (default: cpu)"
    add("--device", choices=("cpu", "cuda"), default="cpu", help=device)
    return parser


def main() -> None:
    """Run the command line: write one bundle, with the operating point `default`."""
    args = _arguments().parse_args()
    name = safe_name(args.model)
    out = args.out or Path("build") / name
    check_replaceable(out)
    check_outputs(args.save_zaps)
    processes.check_device(args.device)
    be_deterministic()
    network = named_network(args)
    module, dataset = network.module, network.dataset
    # The module is lowered before any training too, so that one that does not fit fails now.
    graph = lower(module, dataset.shape)
    classes = dataset.classes_for(graph.shapes[graph.output][0])
    layers = [layer.name for layer in graph.zap_sites()]
    patterns = per_layer(args.pattern, layers, Pattern.parse, DEFAULT_PATTERN)
    sigmas = per_layer(args.sigma, layers, parse_sigma, network.model.sigma)
    zapping = Zapping(
        choices={layer: (patterns[layer], sigmas[layer]) for layer in layers},
        spare=[Pattern.parse(text) for text in args.also_pattern],
        images=args.zap_images,
        epochs=args.zap_epochs,
        bits=args.zap_bits,
    )

    _obtain_weights(network, len(classes), args)
    conversion = convert_network(
        module,
        network.model,
        dataset,
        zapping,
        name=name,
        classes=classes,
        test=dataset.test.first(args.test_images),
        seed=args.seed,
        device=args.device,
    )
    if args.save_zaps is not None:
        save_zaps(conversion.zaps, args.save_zaps)
    provenance = {
        "model": args.model,
        "dataset": dataset.name,
        "weights_sha256": _digest(args.weights),
        "seed": args.seed,
        "zap_epochs": conversion.epochs,
        "zap_bits": args.zap_bits,
        "zap_images": conversion.zap_images,
        "float_top1": conversion.float_top1,
        "int8_top1": conversion.dense.top1,
        "int8_sqnr": conversion.noise.int8,
        "noisy_images_sqnr": conversion.noise.noisy_images,
    }
    provenance |= dropout_provenance(graph.dropout())
    if not dataset.labelled:
        provenance["labels"] = "classes of the float network"
    bundle = conversion.bundle
    manifest = bundle.manifest.model_copy(update={"provenance": provenance})
    if processes.is_first():
        Bundle(manifest, bundle.tensors).save(out)
    _report(conversion)
    Console().print(f"wrote {out}")
    Console().print(
        f"make points BUNDLE={out} chooses operating points by the cycles that they save",
        highlight=False,
        soft_wrap=True,
    )
    for sentence in conversion.warnings:
        text = Text(f"warning: {sentence}", style="bold")
        Console(stderr=True).print(text, soft_wrap=True)


def _obtain_weights(network: NamedNetwork, classes: int, args: argparse.Namespace) -> None:
    """Load the weights if they are given; train a built-in network, and the user's if asked to."""
    model, module, dataset = network.model, network.module, network.dataset
    if isinstance(module, ImportedModule):
        if args.weights is not None or args.train:
            raise UserError(f"{args.model} has its weights: leave out --weights and --train")
        return
    if args.weights is not None:
        load_weights(module, args.weights, classes)
    if args.train or (network.built_in and args.weights is None):
        if not dataset.labelled:
            raise UserError(
                f"{dataset.name} has no labels to train the network with; give its --weights"
            )
        train(model, module, dataset.train, model.recipe, seed=args.seed, device=args.device)
    elif args.weights is None:
        Console().print(
            f"weights: those that {args.model} comes with; --weights FILE loads others, --train "
            "trains them",
            highlight=False,
            soft_wrap=True,
        )


def _digest(file: Path | None) -> str | None:
    return None if file is None else hashlib.sha256(read_bytes(file)).hexdigest()


def _report(conversion: Conversion) -> None:
    """Print the accuracies, and one line for each convolution."""
    dense, sparse = conversion.dense, conversion.sparse
    if conversion.labelled:
        accuracy = Table("network", "top-1 %", title=f"accuracy on {dense.images} test images")
        accuracy.add_row("float", f"{conversion.float_top1:.2f}")
    else:
        title = f"agreement with the float network on {dense.images} test images"
        accuracy = Table("network", AGREEMENT, title=title)
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
    console.print(
        f"signal-to-noise ratio of int8's result: {conversion.noise.int8} dB; of float's with "
        f"noise of {IMAGE_NOISE} dB on the images: {conversion.noise.noisy_images} dB",
        highlight=False,
        soft_wrap=True,
    )
    console.print(layers)


if __name__ == "__main__":
    processes.run_parallel(main)
