"""Compile a bundle into a program for the core: `python -m compiler BUNDLE --config default`.

It prints what each layer takes on chip and in memory, and writes the program's file `--out`
(`hw.contract.program_file` describes it). With `--costs` it writes what each layer takes at each
share of skips too, for `quant.choose --costs`. With `--cores N` the program is for N cores on one
memory port; it says how much faster these are than one, and which layers the memory limits.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from pathlib import Path

from rich.table import Table

from compiler import program_file
from compiler.build import compile_bundle
from compiler.costs_file import network_costs
from compiler.cycles import layer_cycles
from compiler.program import MOST_IMAGES, Program
from compiler.several_cores import expectation, for_cores
from golden.arguments import Parser, integer
from golden.bundle import Bundle
from golden.errors import run_cli
from golden.files import check_writable_file, write_file
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from hw.contract.system import add_system_options, chosen_system


def main() -> None:
    parser = Parser(prog="compiler", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument("--out", type=Path, default=Path("build/program.zap"))
    parser.add_argument(
        "--keep", action="store_true", help="use no memory twice, so that every ofm stays readable"
    )
    parser.add_argument(
        "--reuse-input",
        action="store_true",
        help="use the input's memory again: saves memory, and every run needs its input written",
    )
    points = "operating points of the program (default: all of the bundle)"
    parser.add_argument("--points", nargs="+", metavar="NAME", help=points)
    batch = "images that the program runs at a time, so that layers bound by weights read them once"
    parser.add_argument("--batch", type=integer(1, MOST_IMAGES), default=1, metavar="N", help=batch)
    add_system_options(parser)
    costs = "write what each layer takes, and what its ZAPs save, to this JSON file too"
    parser.add_argument("--costs", type=Path, metavar="FILE", help=costs)
    arguments = parser.parse_args()
    if arguments.costs is not None:
        check_writable_file(arguments.costs)
    program_file.check_replaceable(arguments.out)
    bundle = Bundle.load(arguments.bundle)
    config = Config.load(arguments.config)
    system = chosen_system(config, arguments)
    program = compile_bundle(
        bundle,
        config,
        keep=arguments.keep,
        reuse_input=arguments.reuse_input,
        images=arguments.batch,
        points=arguments.points,
    )
    if system is not None:
        program = for_cores(program, system.cores)
    program_file.save(program, arguments.out)
    if arguments.costs is not None:
        document = network_costs(bundle, config, images=arguments.batch).model_dump_json(indent=1)
        write_file(arguments.costs, document + "\n")
    console = Console()
    _report(program, console)
    if system is not None:
        console.print(expectation(program, system), highlight=False, soft_wrap=True)
    print(arguments.out)


def _report(program: Program, console: Console) -> None:
    config = program.config
    table = Table(title=f"{program.network} for zapcore_{config.name}")
    table.add_column("layer")
    columns = ("ifm", "ofm", "MACs", "cycles", "strips", "ifm buffer", "weight ring", "ofm bank")
    for column in columns:
        table.add_column(column, justify="right")
    cycles = layer_cycles(program)
    for layer in program.layers:
        table.add_row(
            layer.name,
            *("x".join(map(str, program.tensors[name].shape)) for name in layer.ends),
            f"{layer.macs:,}",
            f"{cycles[layer.name].elapsed:,.0f}",
            _counts(layer.tiles),
            f"{layer.ifm_words / config.ifm_words:.0%}",
            f"{layer.kernel_words / config.weight_words:.0%}",
            f"{layer.pixels / config.ofm_words:.0%}",
        )
    console.print(table)
    total = sum(layer.elapsed for layer in cycles.values())
    each = "" if program.images == 1 else f", {total / program.images:,.0f} for each image"
    console.print(f"{total:,.0f} cycles without ZAP, by the cycle model{each}", highlight=False)
    console.print(
        f"program {len(program.image):,} bytes, scratch memory "
        f"{program.end - len(program.image):,}; "
        f"operating points: {', '.join(program.points)}",
        highlight=False,
    )


def _counts(tiles: dict[str, int]) -> str:
    """The number of a layer's strips; the least and the most if operating points differ."""
    least, most = min(tiles.values()), max(tiles.values())
    return str(least) if least == most else f"{least} .. {most}"


if __name__ == "__main__":
    run_cli(main)
