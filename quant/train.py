"""Train a built-in network from scratch.

    python -m quant.train --model NAME --data DIR --out FILE [--epochs N] [--resume]

FILE becomes a state dict, which `quant/export.py --weights FILE` takes. The held-out images are not
trained on, because thresholds are chosen by them later. FILE.checkpoint is written after every
epoch. With --resume an interrupted training goes on from there, and comes to the same result as one
that was not interrupted.

Under torchrun several processes each take a share of every batch. The result is that of one
process, except for rounding and for what dropout drops.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from golden.errors import UserError
from quant.data.registry import DATASETS, load
from quant.frontend.lowering import lower
from quant.networks.registry import MODELS
from quant.runtime import processes
from quant.runtime.outputs import check_outputs, write_tensors
from quant.runtime.precision import PRECISIONS, fastest_precision
from quant.runtime.threads import set_threads_for
from quant.training.trainer import Trainer, float_top1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quant.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), required=True, help="the network to train")
    add("--dataset", choices=sorted(DATASETS), help="the images (default: the model's own dataset)")
    add("--data", type=Path, help="the dataset's folder or its parent")
    add("--epochs", type=int, help="passes over the training images (default: the model's own)")
    add("--resume", action="store_true", help="go on from FILE.checkpoint")
    add("--out", type=Path, required=True, metavar="FILE", help="the file to write weights to")
    add("--seed", type=int, default=1, help="of weights, order and augmentation (default: 1)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="the device to train on")
    precision = "of products; auto takes bfloat16 if the device has matrix units for it"
    add("--precision", choices=("auto", *PRECISIONS), default="auto", help=precision)
    return parser


def main() -> None:
    """Run the command line: write one file of weights."""
    args = _arguments().parse_args()
    processes.check_device(args.device)
    model = MODELS[args.model]
    recipe = model.recipe
    if args.epochs is not None:
        if args.epochs < 1:
            raise UserError(f"--epochs {args.epochs}: must be at least 1")
        recipe = replace(recipe, epochs=args.epochs)
    checkpoint = args.out.with_name(f"{args.out.name}.checkpoint")
    if checkpoint.exists() and not args.resume:
        raise UserError(
            f"{checkpoint}: left by an interrupted training; go on with --resume or remove it"
        )
    check_outputs(args.out, checkpoint)
    dataset = load(args.dataset or model.dataset, args.data)
    set_threads_for(dataset.shape)
    model.check_channels(dataset.shape, dataset.name)
    torch.manual_seed(args.seed)
    module = model.build(len(dataset.classes))
    lower(module.eval(), dataset.shape)  # a network that could not be exported fails now
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
