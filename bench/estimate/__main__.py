"""`make estimate`: tells whether a network fits, how fast it is, and what skipping can gain.

    python -m bench.estimate --model NAME|FILE.py:NAME|FILE.onnx [--shape 3x224x224] ...

It needs neither images nor trained weights: shapes decide. For each core it says whether it holds
the network, and if not, what layer and what parameter are in the way; then the cycles of one image
by the compiler's model, the speed at the core's clock, memory and traffic, and for each layer what
ZAP gains or costs if it skips a given share of the activations. Naming FILE.py runs its code.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
import math
from pathlib import Path

from bench.estimate.document import document
from bench.estimate.fit import fit, fit_parts
from bench.estimate.page import CoreEstimate, Estimate, print_page, sections
from bench.estimate.speed import speed
from bench.report.page import PAGE, Part, write_page
from golden.arguments import Parser, number, positive
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.pattern import MASKS, Pattern
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from hw.fpga.ecp5 import DEVICES
from quant.pipeline.network_options import MODEL_HELP
from quant.pipeline.shaped_network import shaped_network
from quant.runtime.command_line import command_line
from quant.runtime.options import parse_shape
from quant.runtime.progress import reporting

__all__: list[str] = []

_SHARES = ("0.2", "0.3", "0.4")
_LOG_WIDTH = 160
"""Columns of the page in a file."""


def main() -> None:
    parser = Parser(prog="bench.estimate", description=__doc__.splitlines()[0])
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="NAME", help=f"the network: {MODEL_HELP}")
    source.add_argument("--bundle", type=Path, metavar="DIR", help="a bundle instead")
    shape = "CxHxW, an image's channels and pixels (default: the network's own, if it has one)"
    add("--shape", metavar="CxHxW", help=shape)
    add("--classes", type=positive, metavar="N", help="number of classes to build the network for")
    presets = f"{', '.join(PRESETS)}, or JSON files (default: all presets)"
    add("--config", nargs="+", default=list(PRESETS), help=presets)
    add("--part", choices=sorted(DEVICES), help="the FPGA that it is for (default: all)")
    clock = "the clock (default: that of the results of make fpga, else 100)"
    add("--clock", type=number(0, 1e6), metavar="MHZ", help=clock)
    add(
        "--pattern",
        default="B",
        help=f"of the ZAPs: {', '.join(MASKS)}, PERIOD:BITS or PERIOD:BITS:ROW_STEP",
    )
    skipped = f"shares of activations that ZAP skips (default: {' '.join(_SHARES)})"
    add("--skipped", nargs="+", default=list(_SHARES), metavar="SHARE", help=skipped)
    add("--json", type=Path, metavar="FILE", help="write all figures to this file too")
    add("--html", type=Path, metavar="DIR", help="write the page as HTML and its tables as CSV")
    arguments = parser.parse_args()
    pattern = Pattern.parse(arguments.pattern)
    shares = [_share(text) for text in arguments.skipped]
    configs = [Config.load(name) for name in arguments.config]
    size = None if arguments.shape is None else parse_shape(arguments.shape)
    for file in (arguments.json, arguments.html and arguments.html / PAGE):
        if file is not None:
            check_writable_file(file)
    with reporting() as report:
        report("reading the network", 0, 1)
        if arguments.bundle is not None:
            bundle = Bundle.load(arguments.bundle)
        else:
            bundle = shaped_network(arguments.model, size, arguments.classes)
        report("reading the network", 1, 1)
    cores = [_core(bundle, config, pattern, shares, arguments.clock) for config in configs]
    manifest = bundle.manifest
    estimate = Estimate(
        network=manifest.name,
        image=manifest.activations[manifest.input.tensor].shape,
        weights=sum(
            tensor.numel()
            for name, tensor in bundle.tensors.items()
            if name.startswith("layers.") and name.endswith(".weight")
        ),
        macs=sum(step.macs for step in cores[0].fit.costs.steps),
        pattern=pattern,
        shares=shares,
        cores=cores,
        part=arguments.part,
    )
    console = Console(width=None if Console().is_terminal else _LOG_WIDTH)
    print_page(estimate, console)
    if arguments.json is not None:
        write_file(arguments.json, json.dumps(document(estimate), indent=1) + "\n")
    if arguments.html is not None:
        page = write_page(
            arguments.html,
            title=estimate.title,
            command=command_line("bench.estimate"),
            parts=[Part("", sections(estimate))],
            skipped=[],
        )
        console.print(f"wrote {page}", soft_wrap=True, highlight=False)


def _core(
    bundle: Bundle, config: Config, pattern: Pattern, shares: list[float], clock: float | None
) -> CoreEstimate:
    found = fit(bundle, config, pattern)
    return CoreEstimate(
        found,
        fit_parts(found.enough, config),
        speed(bundle, found, pattern, shares, clock),
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise UserError(f"--skipped {text!r} is not a share between 0 and 1")
    return value


if __name__ == "__main__":
    run_cli(main)
