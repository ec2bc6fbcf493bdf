"""`make bench-explore`: finds the configuration that suits a network and a part.

    python -m bench.explore NAME [--part ecp5-85] [--lanes 16 32 64] [--pes 1 2 4] ...

The network is compiled for every combination of the sizes given, and `compiler.cycles` tells the
cycles of one image. Designs that no other beats in cycles, multipliers and block RAM at once are
printed and drawn; all are written to `build/explore`. The command ends with the fastest design that
the part holds. With `--scheduler ADDRESS` the combinations are shared out among the workers of a
Dask cluster, which need this repository on their path.
"""

from __future__ import annotations

import itertools
import json
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
from golden.arguments import Parser, positive
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.terminal import Console
from hw.fpga.ecp5 import DEVICES
from quant.runtime.progress import progress
from tb.runs.images import input_image
from tb.runs.whole_networks import NETWORKS, find_network

__all__: list[str] = []


def main() -> None:
    parser = Parser(prog="bench.explore", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("name", metavar="NAME", help=", ".join(NETWORKS))
    add("--part", choices=sorted(DEVICES), default="ecp5-85")
    add("--data", type=Path, help="folder of the network's dataset")
    add("--lanes", type=positive, nargs="+", default=[16, 32, 64], help="lanes of a PE")
    add("--pes", type=positive, nargs="+", default=[1, 2, 4], help="number of PEs")
    add("--ifm-kib", type=positive, nargs="+", default=[64, 128], help="KiB of the ifm buffer")
    add("--ofm-words", type=positive, nargs="+", default=[1024, 2048], help="words of an ofm bank")
    add("--bus-bits", type=positive, nargs="+", default=[64], help="bits of the memory's data bus")
    add("--scheduler", help="address of a Dask scheduler")
    add("--out", type=Path, default=Path("build/explore"))
    arguments = parser.parse_args()
    results = arguments.out / f"{arguments.name}.json"
    chart = results.with_suffix(".png")
    for file in (results, chart):
        check_writable_file(file)
    bundle, point = find_network(arguments.name).load()
    bundle = keep_one_point(bundle, point)
    kept = kept_shares(bundle, point, input_image(bundle, arguments.data, 0))
    configs = [
        sized_config(lanes, pes, kib, words, bits)
        for lanes, pes, kib, words, bits in itertools.product(
            arguments.lanes,
            arguments.pes,
            arguments.ifm_kib,
            arguments.ofm_words,
            arguments.bus_bits,
        )
    ]
    with executor(arguments.scheduler) as workers:
        futures = [workers.submit(evaluate, bundle, point, kept, config) for config in configs]
        every = progress((future.result() for future in futures), len(futures), "configurations")
        designs = [design for design in every if design is not None]
    if not designs:
        raise UserError(f"none of {len(configs)} configurations holds {arguments.name}")
    best = pareto_front(designs)
    holds = DEVICES[arguments.part].holds
    fitting = [d for d in best if d.multipliers <= holds.dsp and d.block_rams <= holds.bram]
    console = Console()
    console.print(_table(f"{arguments.name}, {len(designs)} designs", best, fitting))
    document = [asdict(design) for design in designs]
    write_file(results, json.dumps(document, indent=1) + "\n")
    draw_designs(arguments.name, designs, best, chart)
    if not fitting:
        raise UserError(f"no design fits {arguments.part}; try smaller sizes")
    chosen = min(fitting, key=lambda design: design.cycles_on)
    console.print(f"fastest on {arguments.part}: {chosen.config.to_dict()}", highlight=False)


def _table(title: str, best: Sequence[Design], fitting: Sequence[Design]) -> Table:
    table = Table(title=title)
    table.add_column("configuration")
    for heading in ("cycles, ZAP off", "on", "multipliers", "block RAM", "fits"):
        table.add_column(heading, justify="right")
    for design in best:
        table.add_row(
            design.config.name,
            f"{design.cycles_off:,}",
            f"{design.cycles_on:,}",
            str(design.multipliers),
            str(design.block_rams),
            "yes" if design in fitting else "",
        )
    return table


if __name__ == "__main__":
    run_cli(main)
