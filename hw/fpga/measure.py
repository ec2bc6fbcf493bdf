"""Take a configuration of the core to a device: synthesise, place, route, and count resources."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from golden.files import write_file
from hw.contract.config import Config
from hw.fpga import ecp5
from hw.fpga.blocks import Ecp5
from hw.fpga.ecp5 import DEVICES, Netlist, Use
from hw.fpga.floorplan import floorplan
from hw.fpga.report import Result, modules_of, refuse_misfit
from hw.fpga.top import Top
from hw.verilog_output import emit

__all__ = ["CONSTRAINTS", "measure"]

CONSTRAINTS = Path(__file__).with_name("ecp5.lpf")
"""Constraints where no board has its own: a clock to aim at."""
_TOP = "top"


def measure(
    name: str, config: Config, *, seeds: int, constraints: Path, folder: Path, jobs: int
) -> Result:
    """Synthesise a configuration with and without its predictor, and place the former.

    It is placed and routed once for each of the seeds 1 to `seeds`, on the device of that name, and
    at most `jobs` tools work at a time. Netlists and the tools' logs stay in `folder`.

    Raises UserError if the configuration does not fit, before anything is placed, or if a tool
    fails.
    """
    device = DEVICES[name]
    # The multipliers alone may be too many, which is known before minutes of synthesis.
    refuse_misfit(config, name, device, Use(dsp=config.multipliers))

    def synthesise(build: Config) -> Netlist:
        stem = "core" if build.predictor else "bare"
        verilog = write_file(folder / f"{stem}.v", emit(Top(build), _TOP, Ecp5()))
        return ecp5.synthesise(verilog, _TOP, lambda text: _say(f"synthesis, {stem}: {text}"))

    def place(seed: int) -> float:
        mhz = ecp5.place_and_route(
            netlist.file, device, constraints, seed, lambda text: _say(f"seed {seed}: {text}")
        )
        _say(f"seed {seed}: {mhz:.1f} MHz")
        return mhz

    bare = replace(config, predictor=False)
    with ThreadPoolExecutor(jobs) as pool:
        builds = dict.fromkeys([config, bare])
        netlists = dict(zip(builds, pool.map(synthesise, builds)))
        uses = {build: modules_of(ecp5.use_of(net.cells)) for build, net in netlists.items()}
        refuse_misfit(config, name, device, sum(uses[config].values(), Use()))
        netlist = netlists[config]
        netlist.fix(floorplan(netlist.cells, device.grid))
        seeds_tried = range(1, seeds + 1)
        fmax = dict(zip(seeds_tried, pool.map(place, seeds_tried)))
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
