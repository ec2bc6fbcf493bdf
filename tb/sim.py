"""`make sim`: runs a bundle's layers on the simulated engine and compares them bit for bit.

    python -m tb.sim --sim icarus|verilator|both [--bundle DIR] [--config small|default|FILE] ...

Every convolution runs without ZAP and with it, and with the pooling that follows it. The command
ends with `N activations compared, D differ`; the status is 1 if anything differs.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from golden.arguments import Parser
from golden.bundle import Bundle
from golden.errors import run_cli
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.runs import engine
from tb.runs.bundle_layers import engine_layers
from tb.runs.engine import require_agreement, run_on_each
from tb.runs.images import add_image_options, chosen_image
from tb.runs.verdict import print_verdict
from tb.simulators.toolchain import SIMULATORS, Simulator

__all__: list[str] = []


def main() -> int:
    parser = Parser(prog="tb.sim", description=__doc__.splitlines()[0])
    parser.add_argument("--sim", choices=[*SIMULATORS, "both"], default="both")
    parser.add_argument("--bundle", type=Path, default=Path("build/digits"))
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument("--point", default="default", help="operating point of the bundle")
    add_image_options(parser)
    parser.add_argument("--waves", action="store_true", help="write a waveform (slow)")
    arguments = parser.parse_args()

    config = Config.load(arguments.config)
    bundle = Bundle.load(arguments.bundle)
    network, predictors = bundle.at(arguments.point)
    pixels, _ = chosen_image(bundle, arguments.data, arguments.image)
    dense = engine_layers(bundle, config, pixels, {})
    zap = engine_layers(network, config, pixels, predictors)
    # Layers with a fused pooling run again without it, so that the ofm before it is compared too.
    whole = engine_layers(network, config, pixels, predictors, fuse=False)
    whole = [layer for layer, fused in zip(whole, zap, strict=True) if fused.pool is not None]
    sims: Sequence[Simulator] = SIMULATORS if arguments.sim == "both" else (arguments.sim,)

    console = Console()
    with reporting() as report:
        results = run_on_each(config, sims, dense + zap + whole, report, waves=arguments.waves)
    for sim, checks in results.items():
        table = Table(title=f"{bundle.manifest.name} on zapcore_{config.name}, {sim}")
        for column in ("layer", "ofm", "cycles, ZAP off", "cycles, ZAP on", "skipped", "differ"):
            table.add_column(column, justify="left" if column == "layer" else "right")
        for off, on in zip(checks, checks[len(dense) : 2 * len(dense)], strict=False):
            table.add_row(
                on.layer.conv.name,
                "x".join(str(size) for size in on.layer.output.shape),
                f"{off.counters['cycles']:,}",
                f"{on.counters['cycles']:,}",
                f"{on.counters['skipped']:,}",
                str(off.differ + on.differ),
            )
        console.print(table)
        if arguments.waves:
            console.print(f"waveform in {engine.build(config, sim, waves=True).directory / 'run'}")
    require_agreement(results)
    return print_verdict([check for checks in results.values() for check in checks], console)


if __name__ == "__main__":
    run_cli(main)
