"""`make sim-random`: runs random layers on the simulated engine and compares them bit for bit.

    python -m tb.random_layers --n 200 --seed 1 --sim verilator --config small

Shapes, strides, patterns, weights and stalls are random. The layers take the corner cases of
`tb.random.draws.CORNERS` in turn: 1x1 maps, single rows, maps smaller than the pattern's period,
everything skipped, nothing skipped, sums that saturate, extreme weights. The command ends with
`N activations compared, D differ`.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from golden.arguments import Parser, positive, seed_number
from golden.errors import run_cli
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from tb.random.layers import random_layers
from tb.runs.engine import run_batches
from tb.runs.verdict import print_verdict
from tb.simulators.toolchain import SIMULATORS

__all__: list[str] = []


def main() -> int:
    parser = Parser(prog="tb.random_layers", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=200, help="how many layers")
    parser.add_argument("--seed", type=seed_number, default=1)
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator")
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    arguments = parser.parse_args()
    config = Config.load(arguments.config)
    layers = random_layers(config, arguments.n, arguments.seed)
    checks = run_batches(config, arguments.sim, layers, arguments.seed)
    console = Console()
    console.print(
        f"{len(checks)} random layers on zapcore_{config.name}, {arguments.sim}, "
        f"seed {arguments.seed}",
        highlight=False,
    )
    return print_verdict(checks, console)


if __name__ == "__main__":
    run_cli(main)
