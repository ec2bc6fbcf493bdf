"""`make sim-networks`: runs random networks on the simulated core and compares them bit for bit.

    python -m tb.random_networks --n 50 --seed 1 --sim verilator --config small

`tb.random.networks` draws the networks. The command ends with `N activations compared, D differ`.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from golden.arguments import Parser, positive, seed_number
from golden.errors import run_cli
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.random.networks import random_runs
from tb.runs import core
from tb.runs.verdict import print_verdict
from tb.simulators.toolchain import SIMULATORS

__all__: list[str] = []


def main() -> int:
    parser = Parser(prog="tb.random_networks", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=50, help="how many networks")
    parser.add_argument("--seed", type=seed_number, default=1)
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator")
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    arguments = parser.parse_args()
    config = Config.load(arguments.config)
    pairs = random_runs(config, arguments.n, arguments.seed)
    end = max(run.program.end for _, run in pairs)
    built = core.build(config, arguments.sim, end=end)
    with reporting() as report:
        outcomes = core.run(
            built,
            [run for _, run in pairs],
            on_progress=lambda at: report(f"{arguments.sim}: networks", at.runs, len(pairs)),
        )
    checks = [
        check
        for (bundle, run), outcome in zip(pairs, outcomes, strict=True)
        for check in core.check(bundle, run, outcome)
    ]
    console = Console()
    console.print(
        f"{len(pairs)} random networks of {len(checks)} layers on zapcore_{config.name}, "
        f"{arguments.sim}, seed {arguments.seed}",
        highlight=False,
    )
    return print_verdict(checks, console)


if __name__ == "__main__":
    run_cli(main)
