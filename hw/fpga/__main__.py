"""`make fpga`: what the core takes of an FPGA, and how fast it runs there.

`python -m hw.fpga --device ecp5-25|ecp5-45|ecp5-85 --config small|default|FILE` synthesises the
core with and without its predictor, places and routes it once for each seed, prints a table and
writes `OUT/DEVICE-CONFIG.json`. Netlists and the tools' logs stay in `OUT/DEVICE-CONFIG/`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from golden.errors import UserError, run_cli
from hw.contract.config import PRESETS, Config
from hw.fpga import ecp5
from hw.fpga.blocks import Ecp5
from hw.fpga.ecp5 import DEVICES, Use
from hw.fpga.floorplan import floorplan
from hw.fpga.report import Result, modules_of, refuse_misfit
from hw.fpga.top import Top
from hw.verilog_output import emit

__all__ = ["measure"]

_CONSTRAINTS = Path(__file__).with_name("ecp5.lpf")
_TOP = "top"


def measure(
    name: str, config: Config, *, seeds: int, constraints: Path, folder: Path, jobs: int
) -> Result:
    """Take a configuration to the device of that name, with up to `jobs` tools at work at a time.

    Raises UserError if it does not fit, before any placement, or if a tool refuses its input.
    """
    device = DEVICES[name]
    # The least that is certain, known before minutes of synthesis.
    refuse_misfit(config, name, device, Use(dsp=config.multipliers))

    def synthesise(build: Config) -> tuple[Path, dict]:
        stem = "core" if build.predictor else "bare"
        verilog = folder / f"{stem}.v"
        verilog.write_text(emit(Top(build), _TOP, Ecp5()))
        netlist = ecp5.synthesise(verilog, _TOP, lambda text: _say(f"synthesis, {stem}: {text}"))
        return netlist, json.loads(netlist.read_text())["modules"][_TOP]["cells"]

    def place(seed: int) -> float:
        mhz = ecp5.place_and_route(
            netlist, device, constraints, seed, lambda text: _say(f"seed {seed}: {text}")
        )
        _say(f"seed {seed}: {mhz:.1f} MHz")
        return mhz

    folder.mkdir(parents=True, exist_ok=True)
    bare = replace(config, predictor=False)
    with ThreadPoolExecutor(jobs) as pool:
        builds = dict.fromkeys([config, bare])
        built = dict(zip(builds, pool.map(synthesise, builds)))
        uses = {build: modules_of(ecp5.use_of(cells)) for build, (_, cells) in built.items()}
        refuse_misfit(config, name, device, sum(uses[config].values(), Use()))
        netlist, cells = built[config]
        ecp5.fix(netlist, _TOP, floorplan(cells, device.grid))
        tried = range(1, seeds + 1)
        fmax = dict(zip(tried, pool.map(place, tried)))
    return Result(
        name=name,
        device=device,
        config=config,
        fmax=fmax,
        modules=uses[config],
        without=sum(uses[bare].values(), Use()),
        tools=ecp5.tools(),
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hw.fpga", description=__doc__)
    add = parser.add_argument
    add("--device", default="ecp5-85", help=", ".join(DEVICES))
    add("--config", default="default", help=f"{', '.join(PRESETS)}, or a JSON file")
    add("--seeds", type=int, default=2, help="placements to try, each from a seed of its own")
    add("--constraints", type=Path, default=_CONSTRAINTS, help="LPF file, for a board of one's own")
    add("--out", type=Path, default=Path("build/fpga"), help="folder to write to")
    # One more than cores: of three seeds on two cores none is left to be placed on one alone.
    jobs = (os.cpu_count() or 1) + 1
    add("--jobs", type=int, default=jobs, help="tools at work at a time")
    arguments = parser.parse_args()
    name = arguments.device
    if name not in DEVICES:
        raise UserError(f"no device {name!r}: use {', '.join(DEVICES)}")
    config = Config.load(arguments.config)
    for option in ("seeds", "jobs"):
        if getattr(arguments, option) < 1:
            raise UserError(f"--{option} is {getattr(arguments, option)}, must be at least 1")
    if not arguments.constraints.is_file():
        raise UserError(f"{arguments.constraints}: no such constraint file")
    stem = f"{name}-{config.name}"
    try:
        result = measure(
            name,
            config,
            seeds=arguments.seeds,
            constraints=arguments.constraints,
            folder=arguments.out / stem,
            jobs=arguments.jobs,
        )
        file = arguments.out / f"{stem}.json"
        scratch = file.with_suffix(".new")
        scratch.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
        os.replace(scratch, file)
    except OSError as error:
        raise UserError(f"{arguments.out}: {error}; choose another --out") from None
    print(result.table())
    print(file)


if __name__ == "__main__":
    run_cli(main)
