"""Simulates the scenarios and writes what the core counts and reports in each.

    python -m tests.hw.core.count_scenarios

Run it only when the RTL is meant to take other cycles: `test_scenarios` compares with the file that
it writes.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json

from golden.arguments import Parser
from golden.errors import run_cli
from tb.runs import core
from tests.hw.core.scenarios import COUNTED, MIXED, scenarios, summary

__all__: list[str] = []


def main() -> None:
    Parser(prog="tests.hw.core.count_scenarios", description=__doc__.splitlines()[0]).parse_args()
    built = core.build(MIXED, "verilator")
    parts = []
    for scenario in scenarios():
        rows = [json.dumps(summary(outcome)) for outcome in core.run(built, scenario.runs)]
        parts.append(f" {json.dumps(scenario.name)}: [\n  " + ",\n  ".join(rows) + "\n ]")
    COUNTED.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    run_cli(main)
