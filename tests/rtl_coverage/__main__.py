"""`make coverage`: runs programs on the core and lists what Verilator never sees executed.

    python -m tests.rtl_coverage --n 200

The programs are the scenarios of `tests.hw.core.scenarios`, one that meets a memory which does not
answer, and random networks as those of `make sim-networks`, on the same core. The command prints
for each module how many lines of its Verilog were reached, and how many rises and falls of its bits
were seen. A line that is never reached is one of `unreached.json`, which says why, or it is printed
and the command ends with status 1.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from golden.arguments import Parser, positive, seed_number
from golden.errors import run_cli
from hw import verilog_output
from hw.core.core import patience
from quant.runtime.progress import reporting
from tb.paths import VERILOG
from tb.random.networks import random_runs
from tb.runs import core
from tests.hw.core.scenarios import MIXED, scenarios
from tests.rtl_coverage.points import Coverage, read_coverage

__all__: list[str] = []

UNREACHED = Path(__file__).with_name("unreached.json")
"""Line that is never reached -> why."""


def main() -> int:
    parser = Parser(prog="tests.rtl_coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=200, help="how many random networks")
    parser.add_argument("--seed", type=seed_number, default=1)
    arguments = parser.parse_args()
    runs = [run for scenario in scenarios() for run in scenario.runs]
    runs.insert(0, replace(runs[0], latency=2 * patience(MIXED)))  # longer than the core waits
    pairs = random_runs(MIXED, arguments.n, arguments.seed)
    with reporting() as report, tempfile.TemporaryDirectory(prefix="zapcore-") as scratch:
        source = verilog_output.write_core(MIXED, VERILOG)[0]
        built = core.build_around(
            source,
            MIXED,
            "verilator",
            end=max(run.program.end for _, run in pairs),
            verilator_args=["--coverage-line", "--coverage-toggle"],
        )
        records = Path(scratch) / "coverage.dat"
        outcomes = core.run(
            built,
            [*runs, *(run for _, run in pairs)],
            on_progress=lambda at: report("coverage", at.runs, len(runs) + len(pairs)),
            plusargs=[f"+verilator+coverage+file+{records}"],
        )
        for (bundle, run), outcome in zip(pairs, outcomes[len(runs) :], strict=True):
            core.check(bundle, run, outcome)
        with records.open(errors="replace") as lines:
            coverage = read_coverage(source.read_text(), lines)
    return _report(coverage)


def _report(coverage: Coverage) -> int:
    """Print the table and the lines without a reason; returns the exit status."""
    print(f"{'module':44}{'lines':>8}{'reached':>9}{'toggles':>10}{'seen':>8}")
    modules = sorted(coverage.lines.keys() | coverage.toggles.keys())
    for module in [*modules, "total"]:
        lines, toggles = (
            sum(counts.values(), Counter()) if module == "total" else counts.get(module, Counter())
            for counts in (coverage.lines, coverage.toggles)
        )
        print(
            f"{module:44}{lines.total():>8}{_share(lines):>9}"
            f"{toggles.total():>10}{_share(toggles):>8}"
        )
    reasons = json.loads(UNREACHED.read_text())
    unexplained = [line for line in coverage.missed if line not in reasons]
    for line in unexplained:
        print(f"never reached: {line}")
    explained = len(coverage.missed) - len(unexplained)
    print(f"{len(coverage.missed)} lines never reached, {explained} of them for a known reason")
    return 1 if unexplained else 0


def _share(counts: Counter[bool]) -> str:
    return f"{counts[True] / counts.total():.1%}" if counts.total() else "-"


if __name__ == "__main__":
    run_cli(main)
