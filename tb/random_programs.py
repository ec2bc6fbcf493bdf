"""`make sim-programs`: runs damaged programs on the simulated core, and a whole one after each.

    python -m tb.random_programs --n 2000 --seed 1 --sim verilator --config small

`tb.random.programs` damages the programs of random networks. Each must end by itself, be done or
end with the fault STALL or BOUNDS, and reach nothing outside its window. The whole program after it
must give golden's bits. A program that runs for very long is aborted, which counts as an end. One
that writes over its own descriptors ends with the fault DESCRIPTOR.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from collections import Counter

from golden.arguments import Parser, positive, seed_number
from golden.errors import run_cli
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.random.programs import damaged_runs
from tb.runs import core
from tb.simulators.toolchain import SIMULATORS

__all__: list[str] = []

_ENDS = ("done", "stall", "bounds", "descriptor", "aborted")
_PER_NETWORK = 20


def main() -> int:
    parser = Parser(prog="tb.random_programs", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=200, help="how many damaged programs")
    parser.add_argument("--seed", type=seed_number, default=1)
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator")
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    arguments = parser.parse_args()
    config = Config.load(arguments.config)
    networks = max(arguments.n // _PER_NETWORK, 1)
    bundles, runs, changed = damaged_runs(config, arguments.n, networks, arguments.seed)
    built = core.build(config, arguments.sim, end=max(run.program.end for run in runs))
    with reporting() as report:
        outcomes = core.run(
            built,
            runs,
            on_progress=lambda at: report("damaged programs", at.runs // 2, arguments.n),
        )
    ends: Counter[str] = Counter()
    wrong = []
    for changes, bundle, run, damaged, whole in zip(
        changed, bundles, runs[1::2], outcomes[::2], outcomes[1::2], strict=True
    ):
        end = damaged.fault.split(" fault")[0] or "done"
        ends[end] += 1
        if end not in _ENDS or damaged.violations:
            wrong.append(f"{changes}: {end}, {damaged.violations} violations on the bus")
        mismatches = [check.mismatch for check in core.check(bundle, run, whole) if check.differ]
        wrong += [f"after {changes}: {mismatch}" for mismatch in mismatches]
    console = Console(highlight=False)
    for line in wrong:
        console.print(line, markup=False)
    console.print(
        f"{arguments.n} damaged programs on zapcore_{config.name}, {arguments.sim}, seed "
        f"{arguments.seed}: {', '.join(f'{count} {end}' for end, count in ends.most_common())}; "
        f"{len(wrong)} wrong"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    run_cli(main)
