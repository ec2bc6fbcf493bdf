"""Measure what quantising the ZAPs costs: the same predictors in float and in fewer bits.

    python quant/export.py --save-zaps FILE ... --out BUNDLE
    python -m quant.zap_precision BUNDLE --zaps FILE --dataset NAME --data DIR \\
        --pattern B --sigma 0.1 0.2 --bits 8 4

The network itself runs in integers each time, as the bundle has it. Float ZAPs see its activations
times their scale.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from golden.arguments import Parser, integer
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.pattern import Pattern
from golden.terminal import Console
from quant.pipeline.bundle_images import add_image_options, images_of
from quant.points.evaluation import evaluate, run_network
from quant.runtime.command_line import command_line
from quant.runtime.options import parse_sigma
from quant.runtime.outputs import check_outputs, write_json
from quant.zap.float_network import FloatZapNetwork
from quant.zap.quantisation import add_zaps
from quant.zap.saved_zaps import load_zaps

_CALIBRATION_IMAGES = 1024


def _arguments() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m quant.zap_precision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", type=Path, help="the bundle's directory")
    zaps = "the file that quant/export.py --save-zaps wrote"
    add("--zaps", type=Path, required=True, metavar="FILE", help=zaps)
    add_image_options(parser)
    add("--pattern", default="B", help="the pattern of all layers (default: B)")
    add("--sigma", nargs="+", default=["0.1"], help="thresholds of all layers (default: 0.1)")
    bits = "widths of the ZAPs' weights in bits (default: 8 4)"
    add("--bits", nargs="+", type=integer(2, 8), default=[8, 4], help=bits)
    add("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    return parser


def main() -> None:
    """Run the command line: print one row for each threshold and precision."""
    args = _arguments().parse_args()
    check_outputs(args.json)
    bundle = Bundle.load(args.bundle)
    pattern = Pattern.parse(args.pattern)
    every = load_zaps(bundle, args.zaps)
    zaps = {site: zap for site, zap in every.items() if site.pattern == pattern}
    if not zaps:
        raise UserError(f"{args.zaps}: has no ZAPs for pattern {pattern}")
    sigmas = [parse_sigma(text) for text in args.sigma]
    source = images_of(bundle, args)
    dataset = source.dataset
    calibration = dataset.train.first(_CALIBRATION_IMAGES)
    narrow = {bits: add_zaps(bundle, zaps, calibration, bits=bits) for bits in args.bits}
    float_zaps = {site.layer: (site.pattern, zap) for site, zap in zaps.items()}
    rows = []
    for sigma in sigmas:
        network = FloatZapNetwork(bundle, float_zaps, sigma)
        results = {"float": run_network(network, dataset.test, f"sigma {sigma:g}, float")}
        for bits, quantised in narrow.items():
            label = f"sigma {sigma:g}, {bits} bits"
            predictors = quantised.uniform(pattern, sigma)
            results[str(bits)] = evaluate(quantised, predictors, dataset.test, label)
        rows += [
            {
                "network": bundle.manifest.name,
                "dataset": dataset.name,
                "pattern": str(pattern),
                "sigma": sigma,
                "bits": bits,
                "top1": result.top1,
                "mac_reduction": result.mac_reduction,
                "images": result.images,
            }
            for bits, result in results.items()
        ]
    title = f"{bundle.manifest.name} on {dataset.name}, mask {pattern}"
    Console().print(_table(title, source.measure, rows))
    if args.json is not None:
        write_json(args.json, {"command": command_line("quant.zap_precision"), "rows": rows})


def _table(title: str, measure: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for heading in ("sigma", "ZAP weights", measure, "MACs skipped %"):
        table.add_column(heading, justify="right")
    for row in rows:
        width = row["bits"] if row["bits"] == "float" else f"{row['bits']} bits"
        mac_reduction = f"{100 * row['mac_reduction']:.2f}"
        table.add_row(f"{row['sigma']:g}", width, f"{row['top1']:.2f}", mac_reduction)
    return table


if __name__ == "__main__":
    run_cli(main)
