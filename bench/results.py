"""Makes `docs/results/` again: training, bundles, operating points, cycles, report.

    python -m bench.results --data DIR --weights DIR

`bench.result_steps` lists the steps. A step is skipped, and named, if its data, weights or bundle
are missing, or if its products are newer than what it reads. Nothing needs a GPU.
Training takes hours; it is left out where the folder given by --weights holds the weights.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from pathlib import Path

from bench.pipeline import run_steps
from bench.result_steps import result_steps
from golden.arguments import Parser
from golden.errors import run_cli

__all__: list[str] = []


def main() -> None:
    parser = Parser(prog="python -m bench.results", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("DATA"), help="folder of the extracted datasets")
    add("--weights", type=Path, default=Path("WEIGHTS"), help="folder of pretrained networks")
    add("--force", action="store_true", help="make what is up to date too")
    args = parser.parse_args()
    run_steps(result_steps(args.data, args.weights), force=args.force)


if __name__ == "__main__":
    run_cli(main)
