"""Write a bundle of a network that nobody trained: random weights, predictors fitted to them.

    python -m quant.untrained --model resnet18 [--seed 1] [--out DIR]

The bundle is for simulating and measuring a network whose weights are not at hand. Shapes and
arithmetic are those of the real network; how much its predictors skip says nothing about it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from golden.arguments import Parser, seed_number
from golden.bundle import check_replaceable
from golden.errors import run_cli
from golden.terminal import Console
from quant.pipeline.untrained_bundle import UNTRAINED_MODELS, untrained_bundle


def main() -> None:
    """Run the command line."""
    parser = Parser(
        prog="python -m quant.untrained",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", choices=UNTRAINED_MODELS, required=True, help="the built-in network")
    add(
        "--seed", type=seed_number, default=1, help="of the weights and the predictors (default: 1)"
    )
    add("--out", type=Path, help="the bundle's directory (default: build/MODEL-untrained)")
    args = parser.parse_args()
    out = args.out or Path("build") / f"{args.model}-untrained"
    check_replaceable(out)
    untrained_bundle(args.model, args.seed).save(out)
    Console().print(f"wrote {out}")


if __name__ == "__main__":
    run_cli(main)
