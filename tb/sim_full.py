"""`make sim-full NET=NAME`: whole networks on the simulated core, every layer compared with golden.

    python -m tb.sim_full [NAME ...] [--config default|FILE] [--images N] [--data DIR] ...

Each network of `tb.networks` runs from its memory image to its answer, with ZAP where it has
predictors, as in `tb.sim_core`. Without names all of them run, smaller ones first, but for those
that do not fit or whose images are not there. It ends with a line for each; the status is 1 if
anything differs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from compiler.build import compile_bundle
from compiler.cycles import layer_cycles
from compiler.program import Program
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from hw.config import PRESETS, Config
from tb import core
from tb.core_runs import Progress, Run
from tb.networks import MEMORY_END, NETWORKS, image
from tb.progress import Reporter, reporting
from tb.random_layers import positive

__all__: list[str] = []


def main() -> int:
    parser = argparse.ArgumentParser(prog="tb.sim_full", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--config", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument("--data", type=Path, help="folder of the networks' datasets")
    parser.add_argument("--images", type=positive, default=1, help="of each network")
    parser.add_argument("--image", type=int, default=0, help="number of the first")
    parser.add_argument("--latency", type=int, default=40, help="of the memory, in cycles")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NETWORKS]
    if unknown:
        raise UserError(f"no network {unknown[0]!r}; there are {', '.join(NETWORKS)}")
    console = Console()
    status = 0
    lines = []
    try:
        for name in arguments.names or NETWORKS:
            example = NETWORKS[name]
            config = Config.load(arguments.config or example.config)
            try:
                bundle, point = example.bundle()
                program = compile_bundle(bundle, config, keep=True)
                runs = [
                    Run(
                        program=program,
                        image=image(bundle, arguments.data, arguments.image + number).numpy(),
                        point=point,
                        latency=arguments.latency,
                    )
                    for number in range(arguments.images)
                ]
            except UserError as error:
                if arguments.names:
                    raise
                lines.append(f"{name}: skipped, {error}")
                continue
            with reporting() as report:
                line, mismatch = _simulate(name, bundle, runs, report)
            if mismatch is not None:
                status = 1
                console.print(f"first difference: {mismatch}", highlight=False, soft_wrap=True)
            lines.append(line)
    finally:  # what has been compared is said, whatever ended the rest
        for line in lines:
            console.print(line, highlight=False, soft_wrap=True)
    return status


def _simulate(
    name: str, bundle: Bundle, runs: Sequence[Run], report: Reporter
) -> tuple[str, str | None]:
    """Run images through a network's program: what was compared, and the first difference."""
    program = runs[0].program
    report("build", 0, 1)
    built = core.build(program.config, "verilator", end=max(program.end, MEMORY_END))
    report("build", 1, 1)
    start = time.monotonic()
    weights = [round(layer.elapsed) for layer in layer_cycles(program).values()]

    def show(at: Progress) -> None:
        seconds = time.monotonic() - start
        done, total, detail = _position(program, weights, len(runs), at, seconds)
        report(name, done, total, detail)

    outcomes = core.run(built, runs, on_progress=show)
    checks = [
        check
        for run, outcome in zip(runs, outcomes, strict=True)
        for check in core.check(bundle, run, outcome)
    ]
    differ = sum(check.differ for check in checks)
    cycles = sum(check.counters["elapsed"] for check in checks)
    rate = cycles / sum(outcome.seconds for outcome in outcomes)
    line = (
        f"{name}: {len(program.layers)} layers, {sum(check.compared for check in checks)} "
        f"activations compared, {differ} differ, {cycles} cycles, {rate:.0f} cycles/s"
    )
    mismatches = (check.mismatch for check in checks if check.mismatch is not None)
    return line, next(mismatches, None)


def _position(
    program: Program, weights: list[int], images: int, at: Progress, seconds: float
) -> tuple[int, int, str]:
    """How much is done, of how much, and in words which layer the core is in and what is left.

    `weights` are what the cycle model says of each layer without ZAP.
    """
    whole = sum(weights)
    before, after = sum(weights[: at.layer]), sum(weights[: at.layer + 1])
    here = min(max(at.cycles, before), after) if at.cycles else 0
    done, total = min(at.runs * whole + here, images * whole), images * whole
    detail = f"{at.runs} of {images} images done"
    if here:
        layer = program.layers[at.layer].name
        detail += f", layer {layer} ({at.layer + 1}/{len(weights)}), {at.cycles:,} cycles"
    if 0 < done < total:
        detail += f", {done / seconds:,.0f} cycles/s, {seconds * (total - done) / done:,.0f} s left"
    return done, total, detail


if __name__ == "__main__":
    run_cli(main)
