"""Train a network from scratch: a built-in one, or the user's own, whose code is run.

    python -m quant.train --model NAME --data DIR --out FILE [--epochs N] [--resume]
    python -m quant.train --model FILE.py:NAME --dataset FOLDER --out FILE [--epochs N] [--resume]

FILE becomes a state dict, which `quant/export.py --weights FILE` takes. The held-out images are not
trained on, because thresholds are chosen by them later. FILE.checkpoint is written after every
epoch. With --resume an interrupted training goes on from there, and comes to the same result as one
that was not interrupted.

Under torchrun several processes each take a share of every batch. The result is that of one
process, except for rounding and for what dropout drops.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import argparse
from dataclasses import replace
from pathlib import Path

from golden.arguments import Parser, positive, seed_number
from golden.errors import UserError
from golden.terminal import Console
from quant.frontend.imported import ImportedModule
from quant.frontend.lowering import lower
from quant.pipeline.network_options import add_network_options, named_network
from quant.runtime import processes
from quant.runtime.outputs import check_outputs, write_tensors
from quant.runtime.precision import PRECISIONS, fastest_precision
from quant.training.trainer import Trainer, float_top1


def _arguments() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m quant.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_network_options(parser)
    epochs = "passes over the training images (default: the built-in network's own; 30)"
    add("--epochs", type=positive, help=epochs)
    add("--resume", action="store_true", help="go on from FILE.checkpoint")
    add("--out", type=Path, required=True, metavar="FILE", help="the file to write weights to")
    add(
        "--seed",
        type=seed_number,
        default=1,
        help="of weights, order and augmentation (default: 1)",
    )
    add("--device", choices=("cpu", "cuda"), default="cpu", help="the device to train on")
    precision = "of products; auto takes bfloat16 if the device has matrix units for it"
    add("--precision", choices=("auto", *PRECISIONS), default="auto", help=precision)
    return parser


def main() -> None:
    """Run the command line: write one file of weights."""
    args = _arguments().parse_args()
    processes.check_device(args.device)
    checkpoint = args.out.with_name(f"{args.out.name}.checkpoint")
    if checkpoint.exists() and not args.resume:
        raise UserError(
            f"{checkpoint}: left by an interrupted training; go on with --resume or remove it"
        )
    check_outputs(args.out, checkpoint)
    network = named_network(args)
    model, module, dataset = network.model, network.module, network.dataset
    if not dataset.labelled:
        raise UserError(f"{dataset.name} has no labels to train a network with")
    if isinstance(module, ImportedModule):
        raise UserError(f"{args.model}: an ONNX file has its weights and is not trained here")
    recipe = model.recipe if args.epochs is None else replace(model.recipe, epochs=args.epochs)
    # A network that could not be exported fails now.
    graph = lower(module, dataset.shape)
    dataset.classes_for(graph.shapes[graph.output][0])
    module.to(args.device)
    precision = fastest_precision(args.device) if args.precision == "auto" else args.precision
    trainer = Trainer(model, module, dataset.train, recipe, seed=args.seed, precision=precision)
    if args.resume:
        trainer.restore(checkpoint)
    console = Console()
    while trainer.epoch < recipe.epochs:
        trainer.run_epoch(f"epoch {trainer.epoch + 1} of {recipe.epochs}")
        top1 = float_top1(model, module, dataset.held_out, device=args.device)
        console.print(f"epoch {trainer.epoch}: {top1:.2f} % of the held-out images")
        write_tensors(checkpoint, trainer.state())
    top1 = float_top1(model, module, dataset.test, device=args.device)
    write_tensors(args.out, {"state_dict": module.cpu().state_dict(), "float_top1": top1})
    if processes.is_first():
        checkpoint.unlink()
    console.print(f"wrote {args.out}: {top1:.2f} % of the {len(dataset.test)} test images")


if __name__ == "__main__":
    processes.run_parallel(main)
