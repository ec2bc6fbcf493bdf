"""Takes other people's networks all the way, and writes the table of `docs/brought-through.md`.

    python -m bench.bring_through [NAME ...] [--data DIR] [--weights DIR] [--out FILE]

`bench.brought_networks` lists them. Each is exported by one command, which ends with an error
unless the lowered network gives what the module, or onnxruntime, gives. Some are simulated on one
image, without ZAP and with it, and every activation is compared with golden. Rows of networks that
are not named stay as they are.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.brought_networks import NETWORKS, Brought, Images
from bench.measure import simulate
from compiler.program import DENSE
from golden.arguments import Parser
from golden.bundle import MANIFEST, Bundle
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.manifest import ConvNode
from golden.reading import read_json
from golden.terminal import Console
from hw.contract.config import Config
from quant.runtime.progress import reporting
from tb.runs.images import input_image
from tb.simulators.errors import SimulationError

__all__: list[str] = []

_BUILD = Path("build/brought-through")
_RESULTS = Path("docs/results/brought_through.json")
_POINT = "default"
"""The operating point that `quant/export.py` makes."""


def main() -> None:
    parser = Parser(prog="python -m bench.bring_through", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"{', '.join(NETWORKS)} (default: all)")
    add("--data", type=Path, default=Path("DATA"), help="folder of the extracted datasets")
    add("--weights", type=Path, default=Path("WEIGHTS"), help="folder of weights and pictures")
    add("--out", type=Path, default=_RESULTS, metavar="FILE", help="the results (JSON)")
    add("--force", action="store_true", help="export again what has a bundle")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in NETWORKS:
            raise UserError(f"no network {name!r}; there are {', '.join(NETWORKS)}")
    check_writable_file(arguments.out)
    console = Console()
    for name in arguments.names or NETWORKS:
        network, folder = NETWORKS[name], _BUILD / name
        if arguments.force or not (folder / MANIFEST).is_file():
            _make_images(network, arguments.weights, console)
            _run(network.export(folder, arguments.data, arguments.weights), console)
        row = _row(name, network, Bundle.load(folder), arguments.data)
        rows = read_json(arguments.out) if arguments.out.is_file() else {}
        rows[name] = row
        ordered = {name: rows[name] for name in NETWORKS if name in rows}
        write_file(arguments.out, json.dumps(ordered, indent=1) + "\n")
        console.print(f"{name}: {row}", soft_wrap=True, highlight=False)


def _make_images(network: Brought, weights: Path, console: Console) -> None:
    """Write the images that are made for a network, unless they are there."""
    images = network.images
    if isinstance(images, Images) and not Path(images.file).is_file():
        _run(images.command(weights), console)


def _run(command: list[str], console: Console) -> None:
    """Run a command of this project, and show it as it would be typed."""
    text = shlex.join(["python", *command])
    console.print(text, soft_wrap=True, highlight=False)
    process = subprocess.run([sys.executable, *command], check=False)
    if process.returncode:
        raise UserError(f"{text}: ended with status {process.returncode}, see above")


def _row(name: str, network: Brought, bundle: Bundle, data: Path) -> dict[str, Any]:
    """The facts of a network that was brought through."""
    manifest, point = bundle.manifest, bundle.operating_point(_POINT)
    measured = point.measured
    assert measured is not None
    known = manifest.provenance
    row = {
        "source": network.source,
        "model": network.model.replace("{light}", "LIGHT"),
        "input": "x".join(map(str, manifest.activations[manifest.input.tensor].shape)),
        "trained": bool(network.weights),
        "convolutions": sum(isinstance(node, ConvNode) for node in manifest.layers),
        "zaps": len(point.layers),
        "test_images": measured.images,
        "labelled": "labels" not in known,
        "float_top1": known["float_top1"],
        "int8_top1": known["int8_top1"],
        "int8_sqnr": known["int8_sqnr"],
        "noisy_images_sqnr": known["noisy_images_sqnr"],
        "zap_top1": measured.top1,
        "mac_reduction": measured.mac_reduction,
    }
    if network.config:
        row |= _cycles(name, network, bundle, data)
    return row


def _cycles(name: str, network: Brought, bundle: Bundle, data: Path) -> dict[str, Any]:
    """Simulate one image without ZAP and with it. Raises SimulationError where anything differs."""
    config = Config.load(network.config)
    of_folder = None if isinstance(network.images, Images) else data
    pixels = input_image(bundle, of_folder, 0)
    with reporting() as report:
        simulated = simulate(bundle, config, pixels, (DENSE, _POINT), report, long_runs=True)
    if simulated.mismatch is not None:
        raise SimulationError(f"{name} on {config.name}: {simulated.mismatch}")
    off, on = (sum(c.counters["elapsed"] for c in checks) for checks in simulated.checks)
    compared = sum(check.compared for checks in simulated.checks for check in checks)
    return {"config": config.name, "cycles_off": off, "cycles_on": on, "compared": compared}


if __name__ == "__main__":
    run_cli(main)
