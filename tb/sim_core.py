"""`make sim-core`: runs a bundle's network on the simulated core, from memory image to answer.

    python -m tb.sim_core --sim icarus|verilator|both [--bundle DIR] [--config small|FILE] ...

The host's driver loads the compiled program and its images, starts the core through its registers
and waits for its interrupt. Then every layer's ofm in memory is compared with golden. The network
runs without ZAP and at an operating point. The status is 1 if anything differs.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from compiler.build import compile_bundle
from compiler.program import DENSE, MOST_IMAGES, Program
from golden.arguments import Parser, integer
from golden.bundle import Bundle
from golden.errors import run_cli
from golden.network import quantise_images
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.exchange.core_files import Run
from tb.runs import core
from tb.runs.core import LayerCheck, Simulated
from tb.runs.images import add_image_options, chosen_images
from tb.simulators.errors import SimulationError
from tb.simulators.process import runner_threads
from tb.simulators.toolchain import SIMULATORS, Simulator

__all__: list[str] = []


def main() -> int:
    parser = Parser(prog="tb.sim_core", description=__doc__.splitlines()[0])
    parser.add_argument("--sim", choices=[*SIMULATORS, "both"], default="verilator")
    parser.add_argument("--bundle", type=Path, default=Path("build/digits"))
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument("--point", default="default", help="operating point of the bundle")
    add_image_options(parser)
    parser.add_argument(
        "--latency", type=integer(1, 10_000), default=40, help="the memory's, in cycles"
    )
    batch = "images that the program runs at a time, from --image on (default: %(default)s)"
    parser.add_argument("--batch", type=integer(1, MOST_IMAGES), default=1, metavar="N", help=batch)
    parser.add_argument("--waves", action="store_true", help="write a waveform (slow)")
    arguments = parser.parse_args()

    config = Config.load(arguments.config)
    bundle = Bundle.load(arguments.bundle)
    bundle.operating_point(arguments.point)
    program = compile_bundle(
        bundle, config, keep=True, images=arguments.batch, points=[arguments.point]
    )
    pixels, labels = chosen_images(bundle, arguments.data, arguments.image, arguments.batch)
    image = quantise_images(bundle, pixels).numpy()
    image = image.reshape(program.tensors[program.input].whole_shape)
    runs = [
        Run(program=program, image=image, point=point, latency=arguments.latency)
        for point in (DENSE, arguments.point)
    ]
    sims: Sequence[Simulator] = SIMULATORS if arguments.sim == "both" else (arguments.sim,)
    console = Console()
    with reporting() as report, runner_threads(len(sims)) as pool:

        def one(sim: Simulator) -> Simulated:
            return core.simulate(bundle, runs, sim, report, waves=arguments.waves)

        results = dict(zip(sims, pool.map(one, sims), strict=True))
    reference = next(iter(results.values())).checks
    status = 0
    for sim, result in results.items():
        if result.checks != reference:
            raise SimulationError(f"{sims[0]} and {sim} differ in a counter")
        console.print(_table(program, sim, *result.checks))
        if result.mismatch is not None:
            console.print(f"first difference: {result.mismatch}", highlight=False, soft_wrap=True)
            status = 1
        classes = bundle.manifest.classes
        shape = program.tensors[program.output].shape
        outputs = result.outcomes[-1].output.reshape(-1, *shape)
        for number, (output, label) in enumerate(zip(outputs, labels, strict=True)):
            answer = f"a map of {'x'.join(map(str, shape))}"
            if output.size == len(classes):
                answer = f"classified as {classes[output.argmax()]}"
            truth = "" if label is None else f" a {classes[label]},"
            first = arguments.image
            name = int(first) + number if first.isdecimal() else first
            console.print(f"image {name}:{truth} {answer}")
        if program.images > 1:
            off, on = (sum(layer.counters["elapsed"] for layer in run) for run in result.checks)
            each = f"{off / program.images:,.0f} cycles with ZAP off, {on / program.images:,.0f} on"
            console.print(f"each of {program.images} images: {each}", highlight=False)
        console.print(f"{program.network}: {result}", highlight=False, soft_wrap=True)
    return status


def _table(
    program: Program, sim: Simulator, dense: list[LayerCheck], zap: list[LayerCheck]
) -> Table:
    table = Table(title=f"{program.network} on zapcore_{program.config.name}, {sim}")
    table.add_column("layer")
    for column in ("ofm", "cycles, ZAP off", "utilisation", "cycles, ZAP on", "skipped", "differ"):
        table.add_column(column, justify="right")
    for layer, off, on in zip(program.layers, dense, zap, strict=True):
        cycles = off.counters["elapsed"]
        table.add_row(
            layer.name,
            "x".join(map(str, program.tensors[layer.output].shape)),
            f"{cycles:,}",
            f"{layer.macs / cycles / program.config.multipliers:.3f}",
            f"{on.counters['elapsed']:,}",
            f"{on.counters['skipped']:,}",
            str(off.differ + on.differ),
        )
    return table


if __name__ == "__main__":
    run_cli(main)
