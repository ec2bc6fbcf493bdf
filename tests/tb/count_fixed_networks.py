"""Simulates the fixed networks and writes the core's counts on them with ZAP.

    python -m tests.tb.count_fixed_networks

Run it only when the RTL is meant to take other cycles: `test_fixed_networks` compares with the file
that it writes.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json

from golden.arguments import Parser
from golden.errors import run_cli
from quant.runtime.progress import reporting
from tests.tb.fixed_networks import COUNTED, FIXED_NETWORKS, count

__all__: list[str] = []


def main() -> None:
    Parser(prog="tests.tb.count_fixed_networks", description=__doc__.splitlines()[0]).parse_args()
    with reporting() as report:
        counted = {network.name: count(network, report)[1] for network in FIXED_NETWORKS}
    networks = []
    for name, layers in counted.items():
        lines = [f"  {json.dumps(layer)}: {json.dumps(counts)}" for layer, counts in layers.items()]
        networks.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    COUNTED.write_text("{\n" + ",\n".join(networks) + "\n}\n")


if __name__ == "__main__":
    run_cli(main)
