"""`make sim-modules`: takes random PyTorch networks all the way, and compares them at every stage.

    python -m tb.random_modules --n 500 --rtl 100 --seed 1 --sim verilator --config small

`tb.random.modules` writes the networks as people write them. Each is compared in float with the
graph that it is lowered to, its integers with the float layers within their rounding, and golden
with a plain model of the arithmetic, bit for bit. Every fifth is read from an ONNX file too. As
many as `--rtl` says then run on the simulated core. Networks have consecutive seeds, so
`--n 1 --seed SEED` repeats one. The text of one that failed, with as few layers as do, is in
build/random-modules.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import random
from dataclasses import dataclass, field
from pathlib import Path

import torch

from compiler.build import compile_bundle
from compiler.program import DENSE
from golden.arguments import Parser, natural, positive, seed_number
from golden.errors import UserError, run_cli
from golden.files import write_file
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import Reporter, reporting
from tb.exchange.core_files import Run
from tb.random.module_checks import Checked, Wrong, check_module, check_onnx
from tb.random.modules import random_module
from tb.random.written_module import WrittenModule
from tb.random.zaps import POINT
from tb.runs import core
from tb.simulators.errors import SimulationError
from tb.simulators.toolchain import SIMULATORS, Simulator

__all__ = ["Tally", "check_networks", "simulate_networks"]

_FAILED = Path("build/random-modules")
_ONNX_EVERY = 5
_MOST_LAYERS = 12


@dataclass
class Tally:
    """The outcome of the networks so far."""

    passed: dict[int, Checked] = field(default_factory=dict)
    """Seed -> the network, for those that passed."""
    failures: dict[int, str] = field(default_factory=dict)
    """Seed -> what went wrong."""
    from_onnx: int = 0
    """Networks that were read from ONNX files too."""


def check_networks(seeds: range, report: Reporter, layers: int | None = None) -> Tally:
    """Write the networks of some seeds, and compare each at every stage before the core.

    Of a network that fails, the first few layers that fail too are looked for.
    """
    tally = Tally()
    for done, seed in enumerate(seeds):
        detail = f"seed {seed}, {len(tally.failures)} failed"
        report("networks", done, len(seeds), detail)
        written = random_module(seed, layers)
        checked, failure = _checked(written, tally)
        if checked is not None:
            tally.passed[seed] = checked
            continue
        parts = (random_module(seed, number) for number in range(layers or _MOST_LAYERS))
        smaller = next((part for part in parts if _checked(part, Tally())[0] is None), written)
        tally.failures[seed] = failure
        _FAILED.mkdir(parents=True, exist_ok=True)
        write_file(_FAILED / f"{seed}.py", smaller.text)
    report("networks", len(seeds), len(seeds), f"{len(tally.failures)} failed")
    return tally


def _checked(written: WrittenModule, tally: Tally) -> tuple[Checked | None, str]:
    """Check a network; return it, or None and what went wrong."""
    try:
        checked = check_module(written)
        if written.seed % _ONNX_EVERY == 0:
            tally.from_onnx += check_onnx(written)
    except (Wrong, UserError) as error:
        return None, str(error)
    except Exception as error:  # a network that breaks zapcore is a find too
        return None, f"{type(error).__name__}: {error}"
    return checked, ""


def simulate_networks(
    passed: dict[int, Checked], count: int, config: Config, sim: Simulator, report: Reporter
) -> tuple[dict[int, str], int, int]:
    """Run some networks on the core, all in one simulation.

    Half of them run at their operating point, with random predictors, and the others without.

    Returns what went wrong by seed, the number of networks, and of activations compared.
    """
    runs: dict[int, Run] = {}
    for seed, checked in passed.items():
        if len(runs) == count:
            break
        rng = random.Random(f"{seed}: memory")
        try:
            program = compile_bundle(checked.bundle, config, keep=True)
        except UserError:
            continue  # too large for the configuration
        runs[seed] = Run(
            program=program,
            image=checked.image.numpy(),
            point=rng.choice((DENSE, POINT)),
            latency=rng.choice((1, 5, 40, 300)),
            stall=rng.choice((0.0, 0.2, 0.5)),
        )
    report(f"{sim}: build", 0, 1)
    built = core.build(config, sim, end=max(run.program.end for run in runs.values()))
    outcomes = core.run(
        built,
        list(runs.values()),
        on_progress=lambda at: report(f"{sim}: networks", at.runs, len(runs)),
    )
    failures, compared = {}, 0
    for (seed, run), outcome in zip(runs.items(), outcomes, strict=True):
        try:
            checks = core.check(passed[seed].bundle, run, outcome)
        except SimulationError as error:
            failures[seed] = str(error)
            continue
        compared += sum(check.compared for check in checks)
        mismatches = [check.mismatch for check in checks if check.mismatch is not None]
        if mismatches:
            failures[seed] = f"RTL: {mismatches[0]}"
    return failures, len(runs), compared


def main() -> int:
    parser = Parser(prog="tb.random_modules", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=50, help="how many networks")
    parser.add_argument("--rtl", type=natural, default=10, help="how many of them run on the core")
    parser.add_argument(
        "--seed", type=seed_number, default=1, help="of the first; the others count on"
    )
    layers = "write only the first N layers of each network, to find the one at fault"
    parser.add_argument("--layers", type=positive, metavar="N", help=layers)
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator")
    parser.add_argument("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    arguments = parser.parse_args()
    config = Config.load(arguments.config)
    torch.set_num_threads(1)  # on tensors so small, threads would only wait for each other
    simulated = compared = 0
    with reporting() as report:
        seeds = range(arguments.seed, arguments.seed + arguments.n)
        tally = check_networks(seeds, report, arguments.layers)
        if arguments.rtl > 0 and tally.passed:
            failures, simulated, compared = simulate_networks(
                tally.passed, arguments.rtl, config, arguments.sim, report
            )
            tally.failures |= failures
    console = Console(highlight=False, soft_wrap=True)
    for seed, failure in sorted(tally.failures.items()):
        console.print(f"seed {seed}: {failure}")
        command = f"python -m tb.random_modules --n 1 --rtl 1 --seed {seed}"
        console.print(f"  {command} --config {arguments.config}")
    constant = sum(checked.is_constant for checked in tally.passed.values())
    console.print(
        f"{arguments.n} random networks from seed {arguments.seed}: {constant} give the same for"
        f" all images, {tally.from_onnx} were read from ONNX too, {simulated} ran on"
        f" zapcore_{config.name} by {arguments.sim}, {compared} activations compared;"
        f" {len(tally.failures)} failed"
    )
    return 1 if tally.failures else 0


if __name__ == "__main__":
    run_cli(main)
