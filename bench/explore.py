"""`make bench-explore`: which configuration suits a network and a part, by the cycle model.

    python -m bench.explore NAME [--part ecp5-85] [--lanes 16 32 64] [--pes 1 2 4] ...

Every combination of the sizes given is compiled for, and its cycles are what `compiler.cycles` says
of one image, with ZAP. What no other combination beats in cycles, multipliers and block RAM at once
is printed, drawn and written to `build/explore`; the fastest that the part holds is named. With
`--scheduler ADDRESS` the combinations are shared out among the workers of a Dask cluster, which
need this repository on their path.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.charts import draw_designs
from bench.measure import kept_shares
from compiler.build import compile_bundle
from compiler.cycles import layer_cycles
from compiler.program import DENSE
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from hw.contract.config import PRESETS, Config
from hw.fpga.ecp5 import DEVICES
from hw.predictor.depthwise import ROWS, SQUARES
from quant.runtime.progress import progress
from tb.runs.whole_networks import NETWORKS, image

__all__ = ["Design", "block_rams", "evaluate", "pareto"]

_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""(words, bits) that a block RAM can be."""


@dataclass(frozen=True)
class Design:
    """A configuration and what becomes of the network on it.

    Parameters
    ----------
    config : Config
    cycles_off, cycles_on : int
        Without and with ZAP.
    multipliers, block_rams : int
        Of the array, and of all buffers.
    """

    config: Config
    cycles_off: int
    cycles_on: int
    multipliers: int
    block_rams: int

    def beats(self, other: Design) -> bool:
        """Nowhere worse and somewhere better."""
        mine, theirs = (
            (design.cycles_on, design.multipliers, design.block_rams) for design in (self, other)
        )
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.explore", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("name", metavar="NAME", help=", ".join(NETWORKS))
    add("--part", choices=sorted(DEVICES), default="ecp5-85")
    add("--data", type=Path, help="folder of the network's dataset")
    add("--lanes", type=int, nargs="+", default=[16, 32, 64], help="V")
    add("--pes", type=int, nargs="+", default=[1, 2, 4], help="P")
    add("--ifm-kib", type=int, nargs="+", default=[64, 128], help="of the ifm buffer")
    add("--ofm-words", type=int, nargs="+", default=[1024, 2048], help="of an ofm bank")
    add("--bus-bits", type=int, nargs="+", default=[64], help="of the memory's data bus")
    add("--scheduler", help="address of a Dask scheduler")
    add("--out", type=Path, default=Path("build/explore"))
    arguments = parser.parse_args()
    if arguments.name not in NETWORKS:
        raise UserError(f"no network {arguments.name!r}; there are {', '.join(NETWORKS)}")
    bundle, point = NETWORKS[arguments.name].bundle()
    bundle = _only(bundle, point)
    kept = kept_shares(bundle, point, image(bundle, arguments.data, 0))
    configs = [
        _config(lanes, pes, kib, words, bits)
        for lanes, pes, kib, words, bits in itertools.product(
            arguments.lanes,
            arguments.pes,
            arguments.ifm_kib,
            arguments.ofm_words,
            arguments.bus_bits,
        )
    ]
    with _executor(arguments.scheduler) as executor:
        futures = [executor.submit(evaluate, bundle, point, kept, config) for config in configs]
        every = progress((future.result() for future in futures), len(futures), "configurations")
        designs = [design for design in every if design is not None]
    if not designs:
        raise UserError(f"none of {len(configs)} configurations holds {arguments.name}")
    best = pareto(designs)
    holds = DEVICES[arguments.part].holds
    fitting = [d for d in best if d.multipliers <= holds.dsp and d.block_rams <= holds.bram]
    console = Console()
    console.print(_table(f"{arguments.name}, {len(designs)} designs", best, fitting))
    arguments.out.mkdir(parents=True, exist_ok=True)
    document = [asdict(design) for design in designs]
    (arguments.out / f"{arguments.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    draw_designs(arguments.name, designs, best, arguments.out / f"{arguments.name}.png")
    if not fitting:
        raise UserError(f"none of them fits {arguments.part}; try smaller sizes")
    chosen = min(fitting, key=lambda design: design.cycles_on)
    console.print(f"fastest on {arguments.part}: {chosen.config.to_dict()}", highlight=False)


def evaluate(
    bundle: Bundle, point: str, kept: Mapping[str, np.ndarray], config: Config
) -> Design | None:
    """The network on a configuration; None where a layer does not fit."""
    try:
        program = compile_bundle(bundle, config)
    except UserError:
        return None
    off = layer_cycles(program, DENSE)
    on = layer_cycles(program, point, kept)
    return Design(
        config=config,
        cycles_off=round(sum(layer.elapsed for layer in off.values())),
        cycles_on=round(sum(layer.elapsed for layer in on.values())),
        multipliers=config.multipliers,
        block_rams=block_rams(config),
    )


def block_rams(config: Config) -> int:
    """Block RAMs of a configuration's buffers, from their widths and depths."""
    word, group = 8 * config.lanes, 8 * config.group
    copies = max(config.pes // 2, 1)
    memories = [(word, config.ifm_words // 2)] * 2 * copies + [(word, config.weight_words)]
    memories += [(group, config.ofm_words)] * 4
    if config.predictor:
        memories += [(ROWS.size, config.row_pixels)] * 2 + [SQUARES] * config.predictor_tables
    return sum(_blocks(bits, words) for bits, words in memories)


def pareto(designs: Sequence[Design]) -> list[Design]:
    """Those that no other beats, slowest first."""
    best = [d for d in designs if not any(other.beats(d) for other in designs)]
    return sorted(best, key=lambda design: (-design.cycles_on, design.multipliers))


def _blocks(bits: int, words: int) -> int:
    return min(-(-words // depth) * -(-bits // width) for depth, width in _SHAPES)


def _only(bundle: Bundle, point: str) -> Bundle:
    """The bundle with one operating point: the others would be compiled as well."""
    points = [p for p in bundle.manifest.operating_points if p.name == point]
    return Bundle(bundle.manifest.model_copy(update={"operating_points": points}), bundle.tensors)


def _config(lanes: int, pes: int, kib: int, ofm_words: int, bus_bits: int) -> Config:
    default = PRESETS["default"]
    return replace(
        default,
        name=f"v{lanes}p{pes}i{kib}o{ofm_words}b{bus_bits}",
        pes=pes,
        lanes=lanes,
        group=max(default.group, bus_bits // 8),
        ifm_words=(kib << 10) // lanes,
        weight_words=default.weight_words * default.lanes // lanes,
        ofm_words=ofm_words,
        bus_bits=bus_bits,
    )


@contextmanager
def _executor(scheduler: str | None) -> Iterator[Executor]:
    """This machine's processes, or the workers of a Dask cluster."""
    if scheduler is None:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            yield pool
        return
    from distributed import Client  # takes a second, and few need it

    try:
        client = Client(scheduler, timeout="3s")
    except OSError as error:
        raise UserError(f"{scheduler}: no Dask scheduler answers: {error}") from None
    with client, client.get_executor() as workers:
        yield workers


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
