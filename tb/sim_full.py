"""`make sim-full NET=NAME`: runs whole networks on the core and compares every layer with golden.

    python -m tb.sim_full [NAME ...] [--config default|FILE] [--images N] [--data DIR] ...

Each network of `tb.runs.whole_networks` runs from its memory image to its answer, with ZAP where it
has predictors, as in `tb.sim_core`. Without names all of them run, smaller ones first, except those
that do not fit or whose images are missing. The command ends with a line for each network; the
status is 1 if anything differs.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from pathlib import Path

from compiler.build import compile_bundle
from golden.arguments import Parser, integer, natural, positive
from golden.errors import UserError, run_cli
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.exchange.core_files import Run
from tb.runs import core
from tb.runs.images import input_image
from tb.runs.whole_networks import MEMORY_END, NETWORKS, find_network

__all__: list[str] = []


def main() -> int:
    parser = Parser(prog="tb.sim_full", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--config", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument("--data", type=Path, help="folder of the networks' datasets")
    parser.add_argument(
        "--images", type=positive, default=1, help="number of images for each network"
    )
    parser.add_argument("--image", type=natural, default=0, help="number of the first image")
    parser.add_argument(
        "--latency", type=integer(1, 10_000), default=40, help="the memory's, in cycles"
    )
    arguments = parser.parse_args()
    networks = {name: find_network(name) for name in arguments.names or NETWORKS}
    console = Console()
    status = 0
    lines = []
    try:
        for name, network in networks.items():
            config = Config.load(arguments.config or network.config)
            try:
                bundle, point = network.load()
                program = compile_bundle(bundle, config, keep=True)
                runs = [
                    Run(
                        program=program,
                        image=input_image(bundle, arguments.data, arguments.image + number).numpy(),
                        point=point,
                        latency=arguments.latency,
                    )
                    for number in range(arguments.images)
                ]
            except UserError as error:
                if arguments.names:
                    raise
                lines.append(f"{name}: skipped, {error}")
                continue
            with reporting() as report:
                result = core.simulate(
                    bundle, runs, "verilator", report, end=MEMORY_END, long_runs=True
                )
            if result.mismatch is not None:
                status = 1
                console.print(
                    f"first difference: {result.mismatch}", highlight=False, soft_wrap=True
                )
            lines.append(f"{name}: {result}")
    finally:  # report what was compared, also where an error ends the rest
        for line in lines:
            console.print(line, highlight=False, soft_wrap=True)
    return status


if __name__ == "__main__":
    run_cli(main)
