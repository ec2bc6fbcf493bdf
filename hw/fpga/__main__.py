"""`make fpga`: prints how much of an FPGA the core takes, and how fast it runs there.

`python -m hw.fpga --device ecp5-25|ecp5-45|ecp5-85 --config small|default|FILE` synthesises the
core with and without its predictor, places and routes it once for each seed, prints a table and
writes `OUT/DEVICE-CONFIG.json`. Netlists and the tools' logs stay in `OUT/DEVICE-CONFIG/`.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
import os
from pathlib import Path

from golden.arguments import Parser, positive
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.reading import check_readable
from hw.contract.config import PRESETS, Config
from hw.fpga.ecp5 import DEVICES
from hw.fpga.measure import CONSTRAINTS, measure

__all__: list[str] = []


def main() -> None:
    parser = Parser(prog="python -m hw.fpga", description=__doc__)
    add = parser.add_argument
    add("--device", default="ecp5-85", help=", ".join(DEVICES))
    add("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    add("--seeds", type=positive, default=2, help="placements to try, each from a seed of its own")
    add("--constraints", type=Path, default=CONSTRAINTS, help="LPF file, for a board of one's own")
    add("--out", type=Path, default=Path("build/fpga"), help="folder to write to")
    # With one job more than cores, two cores place three seeds at once: no seed is left to be
    # placed on one core while the other one has nothing to do.
    jobs = (os.cpu_count() or 1) + 1
    add("--jobs", type=positive, default=jobs, help="tools at work at a time")
    arguments = parser.parse_args()
    name = arguments.device
    if name not in DEVICES:
        raise UserError(f"no device {name!r}: use {', '.join(DEVICES)}")
    config = Config.load(arguments.config)
    check_readable(arguments.constraints, "--constraints takes an LPF file")
    stem = f"{name}-{config.name}"
    file = arguments.out / f"{stem}.json"
    check_writable_file(file)
    try:
        result = measure(
            name,
            config,
            seeds=arguments.seeds,
            constraints=arguments.constraints,
            folder=arguments.out / stem,
            jobs=arguments.jobs,
        )
    except OSError as error:
        raise UserError(f"{arguments.out}: {error}; choose another --out") from None
    write_file(file, json.dumps(result.to_dict(), indent=2) + "\n")
    print(result.table())
    print(file)


if __name__ == "__main__":
    run_cli(main)
