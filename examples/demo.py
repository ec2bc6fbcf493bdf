"""`make demo`: a trained network on the simulated accelerator, and what skipping brought.

    python -m examples.demo [--bundle build/digits] [--config small] [--sim verilator] [--image 0]

Reports accuracy over all held-out images (golden model), cycles of one image (simulated Verilog,
ZAP off and on, every activation compared with golden), and draws one ofm, pattern and skips.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench import figures
from bench.figures import LayerRun
from bench.report.ofms import Decision, draw
from bench.report.page import save_figure
from golden.bundle import Bundle
from golden.errors import run_cli
from golden.manifest import ConvNode
from hw.config import PRESETS, Config
from quant.accounting import Evaluation
from quant.data import load
from quant.evaluate import evaluate
from quant.threads import suit_threads
from tb.engine import Check, Layer
from tb.network import held_out_image, network_layers
from tb.progress import reporting
from tb.sim import require_agreement, simulate, verdict
from tb.toolchain import SIMULATORS, Simulator

__all__: list[str] = []

_LOG_WIDTH = 110


@dataclass(frozen=True)
class _Row:
    """A convolution's two runs, and whether it is fully connected."""

    off: Check
    on: Check
    fully_connected: bool

    @property
    def run(self) -> LayerRun:
        layer = self.on.layer
        return LayerRun(
            macs=layer.conv.macs(*layer.ifm.shape[1:]),
            activations=layer.expected.ofm.numel(),
            skipped=self.on.counters["skipped"],
            cycles_off=self.off.counters["cycles"],
            cycles_on=self.on.counters["cycles"],
            wait_predictor=self.on.counters["wait_predictor"],
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="examples.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("build/digits"))
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument("--sim", choices=[*SIMULATORS, "both"], default="verilator")
    parser.add_argument("--point", default="default", help="operating point of the bundle")
    parser.add_argument("--data", type=Path, help="folder of the bundle's dataset, if it has one")
    parser.add_argument("--image", type=int, default=0, help="number of the held-out image")
    parser.add_argument(
        "--out", type=Path, default=Path("build/demo"), help="where the picture goes"
    )
    arguments = parser.parse_args()

    console = Console(width=None if Console().is_terminal else _LOG_WIDTH)
    config = Config.load(arguments.config)
    bundle = Bundle.load(arguments.bundle)
    network, predictors = bundle.at(arguments.point)
    pixels, label = held_out_image(bundle, arguments.data, arguments.image)
    layers_off = network_layers(bundle, config, pixels, {})
    layers_on = network_layers(network, config, pixels, predictors)
    dataset = load(str(bundle.manifest.provenance["dataset"]), arguments.data)
    suit_threads(dataset.shape)
    test = dataset.test
    dense = evaluate(bundle, {}, test, "accuracy, ZAP off")
    zap = evaluate(network, predictors, test, "accuracy, ZAP on")

    sims: Sequence[Simulator] = SIMULATORS if arguments.sim == "both" else (arguments.sim,)
    with reporting() as report:
        results = simulate(config, sims, layers_off + layers_on, report)
    require_agreement(results)

    checks = results[sims[0]]
    connected = [n.fully_connected for n in bundle.manifest.layers if isinstance(n, ConvNode)]
    rows = [
        _Row(off, on, fc)
        for off, on, fc in zip(
            checks[: len(layers_off)], checks[len(layers_off) :], connected, strict=True
        )
    ]
    console.print()
    console.print(_layer_table(rows, zap, config))
    logits = layers_on[-1].expected.ofm.flatten().tolist()
    answer = bundle.manifest.classes[logits.index(max(logits))]
    _summary(console, bundle, dense, zap, rows)
    picture = _picture(layers_on, pixels, arguments.out / f"{bundle.manifest.name}.png")
    print(
        f"image {arguments.image}: a {bundle.manifest.classes[label]}, "
        f"classified as {answer} with ZAP on; picture in {picture}"
    )
    return verdict([check for run in results.values() for check in run], console)


def _picture(layers: Sequence[Layer], pixels: Tensor, file: Path) -> Path:
    """Write the picture of the first layer with ZAP; returns its path."""
    first = next(
        Decision(layer.conv.name, layer.predictor.pattern, layer.expected)
        for layer in layers
        if layer.predictor is not None
    )
    return save_figure(draw(pixels, [first]), file)


def _layer_table(rows: Sequence[_Row], zap: Evaluation, config: Config) -> Table:
    """Shares over all held-out images, cycles of the simulated one."""
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
    for row in rows:
        name = row.on.layer.conv.name
        tally = tallies.get(name)
        has_zap = row.on.layer.predictor is not None
        table.add_row(
            name,
            f"{row.run.macs:,}",
            f"{tally.skipped_share:.1%}" if tally and has_zap else "",
            f"{tally.wrong_share:.1%}" if tally and has_zap else "",
            f"{row.run.cycles_off:,}",
            f"{row.run.cycles_on:,}",
            f"{figures.utilisation([row.run], config.multipliers):.3f}",
            f"{figures.skip_efficiency([row.run]):.3f}" if has_zap else "",
        )
    convs = [row.run for row in rows if not row.fully_connected]
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
    dense: Evaluation,
    zap: Evaluation,
    rows: Sequence[_Row],
) -> None:
    convs = [row.run for row in rows if not row.fully_connected]
    measured = sum(run.cycles_off for run in convs) / sum(run.cycles_on for run in convs)
    skipped = figures.mac_reduction(convs)
    lines = Table.grid(padding=(0, 2))
    lines.add_row(
        f"top-1 of {zap.images} held-out images",
        f"float {bundle.manifest.provenance['float_top1']:.2f} %, int8 {dense.top1:.2f} %, "
        f"int8 + ZAP {zap.top1:.2f} %",
    )
    lines.add_row(
        "conv MACs skipped",
        f"{zap.mac_reduction:.1%} over all images, {skipped:.1%} on the simulated one",
    )
    lines.add_row(
        "speed-up of the conv layers",
        f"{measured:.3f}x of {1 / (1 - skipped):.3f}x that the skips promise; "
        f"{figures.predictor_stall(convs):.1%} of the cycles wait for the predictor",
    )
    console.print(lines, highlight=False)


if __name__ == "__main__":
    run_cli(main)
