"""`make fuzz`: hands hostile inputs to the product, and counts what it neither takes nor refuses.

    python -m tests.fuzz [TARGET ...] [--n 1000] [--seed 1]

Every input must be taken, or refused by a `UserError`. An error of another kind, a crash of the
process, and an input that takes more than half a minute are failures; the status is then 1.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from golden.arguments import Parser, positive, seed_number
from golden.errors import run_cli
from golden.terminal import Console
from tests.fuzz.targets import TARGETS, run_named

__all__: list[str] = []


def main() -> int:
    parser = Parser(prog="tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--n", type=positive, default=1000, help="inputs of each target")
    parser.add_argument("--seed", type=seed_number, default=1)
    arguments = parser.parse_args()
    for name in arguments.targets:
        if name not in TARGETS:
            parser.error(f"no target {name!r}: use {', '.join(TARGETS)}")
    console = Console(soft_wrap=True, highlight=False)
    inputs = failures = 0
    for name in arguments.targets or TARGETS:
        # Each target has a process of its own, which an input may crash.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                outcome = pool.submit(run_named, name, arguments.n, arguments.seed).result()
            except BrokenProcessPool:
                console.print(f"{name}: an input crashed the process")
                failures += 1
                continue
        console.print(
            f"{name}: {outcome.inputs} inputs, {outcome.taken} taken, {outcome.refused} refused, "
            f"{outcome.failed} failures"
        )
        for place, text in outcome.failures.items():
            console.print(f"{place}\n{text}")
        inputs += outcome.inputs
        failures += outcome.failed
    console.print(f"{inputs} inputs, {failures} failures, seed {arguments.seed}")
    return 1 if failures else 0


if __name__ == "__main__":
    run_cli(main)
