"""`make bench-explore`: finds the configuration that suits a network and a part.

    python -m bench.explore NAME [--part ecp5-85] [--lanes 16 32 64] [--pes 1 2 4] ...
    python -m bench.explore --bundle DIR [--point NAME] [--data DIR] [--image N|FILE] ...

The network is compiled for every combination of the sizes, the numbers of cores and the numbers of
images at a time that are given, and `compiler.cycles` tells the cycles for each image. Several
cores share a memory port as wide as theirs together. Designs that no other beats in cycles,
multipliers and block RAM at once are printed and drawn; all are written to `build/explore`. The
command ends with the fastest design that the part holds. With `--scheduler ADDRESS` the
combinations are shared out among the workers of a Dask cluster, which need this repository on their
path.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import itertools
import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from bench.charts import draw_designs
from bench.designs import (
    Design,
    evaluate,
    executor,
    keep_one_point,
    pareto_front,
    sized_config,
)
from bench.measure import kept_shares
from compiler.program import MOST_IMAGES
from golden.arguments import Parser, integer, positive
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.terminal import Console
from hw.contract.system import MOST_CORES
from hw.fpga.ecp5 import DEVICES
from quant.runtime.progress import progress
from tb.runs.images import add_image_options, chosen_input
from tb.runs.whole_networks import NETWORKS, WholeNetwork, find_network, network_of_bundle

__all__: list[str] = []


def main() -> None:
    parser = Parser(prog="bench.explore", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help=", ".join(NETWORKS))
    add("--bundle", type=Path, metavar="DIR", help="the network of a bundle instead")
    add("--point", metavar="NAME", help="operating point of that bundle (default: the first)")
    add_image_options(parser)
    add("--part", choices=sorted(DEVICES), default="ecp5-85")
    add("--lanes", type=positive, nargs="+", default=[16, 32, 64], help="lanes of a PE")
    add("--pes", type=positive, nargs="+", default=[1, 2, 4], help="number of PEs")
    add("--ifm-kib", type=positive, nargs="+", default=[64, 128], help="KiB of the ifm buffer")
    add("--ofm-words", type=positive, nargs="+", default=[1024, 2048], help="words of an ofm bank")
    add("--bus-bits", type=positive, nargs="+", default=[64], help="bits of the memory's data bus")
    positions = "positions that the predictor goes through in a cycle"
    add("--predictor-positions", type=positive, nargs="+", default=[1], help=positions)
    cores, images = integer(1, MOST_CORES), integer(1, MOST_IMAGES)
    add("--cores", type=cores, nargs="+", default=[1], help="cores on one memory port")
    add("--batch", type=images, nargs="+", default=[1], help="images that a core runs at a time")
    add("--scheduler", help="address of a Dask scheduler")
    add("--out", type=Path, default=Path("build/explore"))
    arguments = parser.parse_args()
    name, network = _network(arguments)
    results = arguments.out / f"{name}.json"
    chart = results.with_suffix(".png")
    for file in (results, chart):
        check_writable_file(file)
    bundle, point = network.load()
    bundle = keep_one_point(bundle, point)
    named = arguments.bundle is None
    pixels = chosen_input(bundle, arguments.data, arguments.image, textures=named)
    kept = kept_shares(bundle, point, pixels)
    configs = [
        sized_config(lanes, pes, kib, words, bits, positions)
        for lanes, pes, kib, words, bits, positions in itertools.product(
            arguments.lanes,
            arguments.pes,
            arguments.ifm_kib,
            arguments.ofm_words,
            arguments.bus_bits,
            arguments.predictor_positions,
        )
    ]
    with executor(arguments.scheduler) as workers:
        futures = [
            workers.submit(evaluate, bundle, point, kept, *choice)
            for choice in itertools.product(configs, arguments.cores, arguments.batch)
        ]
        every = progress((future.result() for future in futures), len(futures), "configurations")
        designs = [design for design in every if design is not None]
    if not designs:
        raise UserError(f"none of {len(configs)} configurations holds {name}")
    best = pareto_front(designs)
    holds = DEVICES[arguments.part].holds
    fitting = [d for d in best if d.multipliers <= holds.dsp and d.block_rams <= holds.bram]
    console = Console()
    console.print(_table(f"{name}, {len(designs)} designs", best, fitting))
    document = [asdict(design) for design in designs]
    write_file(results, json.dumps(document, indent=1) + "\n")
    draw_designs(name, designs, best, chart)
    if not fitting:
        raise UserError(f"no design fits {arguments.part}; try smaller sizes")
    chosen = min(fitting, key=lambda design: design.cycles_on)
    console.print(
        f"fastest on {arguments.part}: {chosen.name}, {chosen.config.to_dict()}", highlight=False
    )


def _network(arguments: Namespace) -> tuple[str, WholeNetwork]:
    """Return the network that is named, or that of the bundle."""
    if (arguments.name is None) == (arguments.bundle is None):
        raise UserError("give either the NAME of a network or a --bundle")
    if arguments.bundle is not None:
        return network_of_bundle(arguments.bundle, arguments.point)
    if arguments.point is not None:
        raise UserError("--point is for a --bundle; networks that are named have theirs")
    return arguments.name, find_network(arguments.name)


def _table(title: str, best: Sequence[Design], fitting: Sequence[Design]) -> Table:
    table = Table(title=title)
    table.add_column("design", no_wrap=True)
    for heading in ("cycles an image, ZAP off", "on", "multipliers", "block RAM", "fits"):
        table.add_column(heading, justify="right")
    for design in best:
        table.add_row(
            design.name,
            f"{design.cycles_off:,}",
            f"{design.cycles_on:,}",
            str(design.multipliers),
            str(design.block_rams),
            "yes" if design in fitting else "",
        )
    return table


if __name__ == "__main__":
    run_cli(main)
