"""Write a bundle of a network that nobody trained: random weights, predictors fitted to them.

    python -m quant.untrained --model resnet18 [--seed 1] [--out DIR]
    python -m quant.untrained --model FILE.py:NAME --shape 3x96x96 [--classes N] [--out DIR]

The bundle is for simulating and measuring a network whose weights are not at hand. Shapes and
arithmetic are those of the real network; how much its predictors skip says nothing about it. An
ONNX file keeps its weights.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import argparse
from pathlib import Path

from golden.arguments import Parser, positive, seed_number
from golden.bundle import check_replaceable
from golden.errors import run_cli
from golden.terminal import Console
from quant.networks.own_models import safe_name
from quant.pipeline.network_options import MODEL_HELP
from quant.pipeline.untrained_bundle import untrained_bundle
from quant.runtime.options import parse_shape


def main() -> None:
    """Run the command line."""
    parser = Parser(
        prog="python -m quant.untrained",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="NAME", required=True, help=f"the network: {MODEL_HELP}")
    shaped = "the shape of an image, CxHxW (default: that of the built-in network or the ONNX file)"
    add("--shape", metavar="SHAPE", help=shaped)
    classes = "number of classes to build the network for (default: the built-in network's own)"
    add("--classes", type=positive, metavar="N", help=classes)
    add(
        "--seed", type=seed_number, default=1, help="of the weights and the predictors (default: 1)"
    )
    add("--out", type=Path, help="the bundle's directory (default: build/MODEL-untrained)")
    args = parser.parse_args()
    out = args.out or Path("build") / f"{safe_name(args.model)}-untrained"
    check_replaceable(out)
    shape = None if args.shape is None else parse_shape(args.shape)
    untrained_bundle(args.model, args.seed, shape, args.classes).save(out)
    Console().print(f"wrote {out}")


if __name__ == "__main__":
    run_cli(main)
