"""Training a built-in network from scratch, and the accuracy of a float network.

    python -m quant.train --model NAME --data DIR --out FILE [--epochs N] [--resume]

writes a state dict that `quant/export.py --weights FILE` takes. The held-out images are not trained
on: thresholds are chosen by them later. After every epoch FILE.checkpoint is written; with --resume
an interrupted training goes on from there to the same result as one that was not interrupted.

Under torchrun (`quant.runtime.processes`) several processes each take a share of every batch. The
result is that of one process, but for rounding and for what dropout drops.
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
from quant.runtime.files import save_whole
from quant.runtime.precision import PRECISIONS, fastest_precision
from quant.runtime.threads import suit_threads
from quant.training.trainer import Trainer, float_top1


def main() -> None:
    """The command line: one file of weights."""
    parser = argparse.ArgumentParser(prog="python -m quant.train", description=__doc__)
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), required=True)
    add("--dataset", choices=sorted(DATASETS), help="default: what the model is for")
    add("--data", type=Path, help="the dataset's folder or its parent")
    add("--epochs", type=int, help="default: the model's own")
    add("--resume", action="store_true", help="go on from FILE.checkpoint")
    add("--out", type=Path, required=True, metavar="FILE")
    add("--seed", type=int, default=1)
    add("--device", choices=("cpu", "cuda"), default="cpu")
    precision = "of products; auto is bfloat16 where the device has matrix units for it"
    add("--precision", choices=("auto", *PRECISIONS), default="auto", help=precision)
    args = parser.parse_args()
    processes.check_device(args.device)
    model = MODELS[args.model]
    recipe = model.recipe
    if args.epochs is not None:
        if args.epochs < 1:
            raise UserError(f"--epochs {args.epochs}: must be at least 1")
        recipe = replace(recipe, epochs=args.epochs)
    checkpoint = args.out.with_name(f"{args.out.name}.checkpoint")
    if checkpoint.exists() and not args.resume:
        raise UserError(f"{checkpoint}: is of an interrupted training; --resume it or remove it")
    dataset = load(args.dataset or model.dataset, args.data)
    suit_threads(dataset.shape)
    model.check_takes(dataset.shape, dataset.name)
    torch.manual_seed(args.seed)
    module = model.build(len(dataset.classes))
    lower(module.eval(), dataset.shape)  # what could not be exported fails now
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
        save_whole(trainer.state(), checkpoint)
    top1 = float_top1(model, module, dataset.test, device=args.device)
    save_whole({"state_dict": module.cpu().state_dict(), "float_top1": top1}, args.out)
    if processes.is_first():
        checkpoint.unlink()
    console.print(f"wrote {args.out}: {top1:.2f} % of the {len(dataset.test)} test images")


if __name__ == "__main__":
    processes.run_parallel(main)
