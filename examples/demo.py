"""`make demo`: runs a trained network on the simulated core and shows the effect of skipping.

    python -m examples.demo [--bundle build/digits-points] [--config small] [--image 0]

The bundle is compiled, and the driver runs one image on the core with ZAP off and on: it loads the
memory, starts the core through its registers and waits for its interrupt. Every activation is
compared with golden. The demo prints the accuracy over all test images (golden model) and the
core's own counters, and draws an ofm with its pattern and skips.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table
from torch import Tensor

from bench import figures
from bench.measure import MeasuredLayer, measured_layers, simulate
from bench.report import style
from bench.report.ofms import Decision, draw
from compiler.program import DENSE
from golden.arguments import Parser, natural
from golden.bundle import Bundle
from golden.errors import run_cli
from golden.files import check_writable_file
from golden.layers import Predictor
from golden.manifest import OperatingPoint
from golden.network import Network, quantise_images
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.data.registry import load
from quant.points.accounting import Evaluation
from quant.points.evaluation import evaluate
from quant.runtime.progress import reporting
from quant.runtime.threads import set_threads_for
from tb.runs.images import held_out_image
from tb.runs.verdict import print_verdict
from tb.simulators.errors import SimulationError
from tb.simulators.toolchain import SIMULATORS, Simulator

__all__: list[str] = []

_LOG_WIDTH = 110


def main() -> int:
    parser = Parser(prog="examples.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("build/digits-points"))
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument("--sim", choices=[*SIMULATORS, "both"], default="verilator")
    point = "operating point of the bundle (default: the first that was chosen by cycles, if any)"
    parser.add_argument("--point", help=point)
    parser.add_argument("--data", type=Path, help="folder of the bundle's dataset, if it has one")
    parser.add_argument("--image", type=natural, default=0, help="number of the test image")
    parser.add_argument(
        "--out", type=Path, default=Path("build/demo"), help="where the picture goes"
    )
    arguments = parser.parse_args()

    console = Console(width=None if Console().is_terminal else _LOG_WIDTH)
    config = Config.load(arguments.config)
    bundle = Bundle.load(arguments.bundle)
    picture = arguments.out / f"{bundle.manifest.name}.png"
    check_writable_file(picture)
    point = arguments.point or _first_by_time(bundle.manifest.operating_points)
    network, predictors = bundle.at(point)
    pixels, label = held_out_image(bundle, arguments.data, arguments.image)
    image = quantise_images(bundle, pixels[None])[0]
    dataset = load(str(bundle.manifest.provenance["dataset"]), arguments.data)
    set_threads_for(dataset.shape)
    test = dataset.test
    dense = evaluate(bundle, {}, test, "accuracy, ZAP off")
    zap = evaluate(network, predictors, test, "accuracy, ZAP on")

    sims: Sequence[Simulator] = SIMULATORS if arguments.sim == "both" else (arguments.sim,)
    points = (DENSE, point)
    with reporting() as report:
        results = [simulate(bundle, config, image, points, report, sim=sim) for sim in sims]
    if any(result.checks != results[0].checks for result in results):
        raise SimulationError(f"{' and '.join(sims)} differ in a counter")

    simulated = results[0]
    measured = measured_layers(bundle, point, image, simulated.program, *simulated.checks)
    console.print()
    console.print(_layer_table(measured, zap, config))
    _summary(console, bundle, point, dense, zap, measured)
    totals = simulated.outcomes[-1].totals
    console.print(
        f"read from registers, ZAP on: {totals['elapsed']:,} cycles from start to interrupt, "
        f"{totals['beats_read'] * config.bus_bytes:,} bytes read, "
        f"{totals['beats_written'] * config.bus_bytes:,} written",
        highlight=False,
    )
    _draw_picture(network, predictors, pixels, picture)
    answer = bundle.manifest.classes[simulated.outcomes[-1].output.argmax()]
    assert label is not None  # it is a classifier
    print(
        f"image {arguments.image}: a {bundle.manifest.classes[label]}, "
        f"classified as {answer} with ZAP on; picture in {picture}"
    )
    every = [check for result in results for checks in result.checks for check in checks]
    return print_verdict(every, console)


def _first_by_time(points: Sequence[OperatingPoint]) -> str:
    """Return the first operating point that was chosen by a core's cycles; else `default`."""
    return next((point.name for point in points if point.by_time is not None), "default")


def _draw_picture(
    network: Bundle, predictors: Mapping[str, Predictor], pixels: Tensor, file: Path
) -> None:
    """Draw the first layer with ZAP."""
    steps = Network(network, predictors).steps(quantise_images(network, pixels[None]))
    first = next(
        Decision(step.node.name, step.predictor.pattern, step.result)
        for step in steps
        if step.predictor is not None and step.result is not None
    )
    style.save(draw(pixels, [first]), file)


def _layer_table(measured: Sequence[MeasuredLayer], zap: Evaluation, config: Config) -> Table:
    """Make the table of layers: shares over all test images, cycles of the simulated one."""
    table = Table(title=f"zapcore_{config.name}: {config.pes} PEs of {config.lanes} lanes")
    table.add_column("layer")
    for column in (
        "MACs",
        "predicted zero",
        "of those wrong",
        "cycles, ZAP off",
        "ZAP on",
        "utilisation",
        "skip efficiency",
    ):
        table.add_column(column, justify="right")
    tallies = {tally.name: tally for tally in zap.layers}
    for layer in measured:
        tally = tallies.get(layer.name)
        has_zap = bool(layer.kept)
        run = layer.run
        table.add_row(
            layer.name,
            f"{run.macs:,}",
            f"{tally.skipped_share:.1%}" if tally and has_zap else "",
            f"{tally.wrong_share:.1%}" if tally and has_zap else "",
            f"{run.cycles_off:,}",
            f"{run.cycles_on:,}",
            f"{figures.utilisation([run], config.multipliers):.3f}",
            f"{figures.skip_efficiency([run]):.3f}" if has_zap else "",
        )
    convs = [layer.run for layer in measured if layer.convolution]
    table.add_section()
    table.add_row(
        "all conv layers",
        f"{sum(run.macs for run in convs):,}",
        f"{sum(t.skipped for t in zap.layers) / sum(t.activations for t in zap.layers):.1%}",
        f"{zap.wrong_share:.1%}",
        f"{sum(run.cycles_off for run in convs):,}",
        f"{sum(run.cycles_on for run in convs):,}",
        f"{figures.utilisation(convs, config.multipliers):.3f}",
        f"{figures.skip_efficiency(convs):.3f}",
    )
    return table


def _summary(
    console: Console,
    bundle: Bundle,
    point: str,
    dense: Evaluation,
    zap: Evaluation,
    measured: Sequence[MeasuredLayer],
) -> None:
    convs = [layer.run for layer in measured if layer.convolution]
    skipped = figures.mac_reduction(convs)
    lines = Table.grid(padding=(0, 2))
    lines.add_row("operating point", _how_chosen(bundle.operating_point(point)))
    lines.add_row(
        f"top-1 of {zap.images} test images",
        f"float {bundle.manifest.provenance['float_top1']:.2f} %, int8 {dense.top1:.2f} %, "
        f"int8 + ZAP {zap.top1:.2f} %",
    )
    lines.add_row(
        "conv MACs skipped",
        f"{zap.mac_reduction:.1%} over all images, {skipped:.1%} on the simulated one",
    )
    lines.add_row(
        "speed-up of the conv layers",
        f"{figures.speed_up(convs):.3f}x of {1 / (1 - skipped):.3f}x that the skips promise; "
        f"{figures.predictor_stall(convs):.1%} of the cycles wait for the predictor",
    )
    console.print(lines, highlight=False)


def _how_chosen(point: OperatingPoint) -> str:
    """Say what an operating point was chosen by, and which layers it leaves without ZAP."""
    if point.by_time is None:
        return point.name
    left = f", without ZAP in {', '.join(point.by_time.left_out)}" if point.by_time.left_out else ""
    return f"{point.name}, chosen by the cycles of zapcore_{point.by_time.config}{left}"


if __name__ == "__main__":
    run_cli(main)
