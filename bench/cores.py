"""`make bench-cores`: measures how much faster several cores on one memory port are than one.

    python -m bench.cores [NAME ...] [--cores 2 4] [--memory-bits N ...] [--data DIR] [--out DIR]

Each network of `tb.runs.whole_networks` runs on one core and then on several at once, an image on
each, without ZAP and at its operating point. Every layer of every image is compared with golden.
Beside the measured speed-up stands what the cycle model expected, and the share of the cycles in
which the port would be busy: above 100 % the memory is the limit. The status is 1 if anything
differs. Measurements go to `cores.json` in the folder.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from bench.figures import frames_per_second
from bench.fpga_results import ASSUMED_MHZ
from compiler.build import compile_bundle
from compiler.costs import LATENCY
from compiler.program import DENSE
from compiler.several_cores import for_cores, forecast, speed_up
from golden.arguments import Parser, integer, positive
from golden.bundle import Bundle
from golden.errors import run_cli
from golden.files import check_writable_file, write_file
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from hw.contract.system import MOST_CORES, System
from quant.runtime.progress import reporting
from tb.exchange.core_files import Run
from tb.runs import core, cores
from tb.runs.images import input_image
from tb.runs.whole_networks import NETWORKS, find_network

__all__: list[str] = []

_OUT = Path("build/bench")
_WIDTH = 140
"""The table's width in characters."""


@dataclass(frozen=True)
class Measurement:
    """A network on several cores at one operating point, an image on each.

    Parameters
    ----------
    network, config, point : str
    cores, memory_bits : int
    alone : int
        Cycles of all these images one after another on one core.
    together : int
        Cycles from the start of the first core to the end of the last.
    differences : int
        Layers of an image whose bits or counters are not golden's.
    expected : float
        The speed-up that the cycle model expects, without skips.
    port_share : float
        Cycles in which the port moves data, of the cycles of one core; above 1 the memory is the
        limit.
    """

    network: str
    config: str
    point: str
    cores: int
    memory_bits: int
    alone: int
    together: int
    differences: int
    expected: float
    port_share: float

    @property
    def speed_up(self) -> float:
        """Images a second of all cores, by those of one."""
        return self.alone / self.together


def main() -> int:
    parser = Parser(prog="bench.cores", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", default=["digits"], help=", ".join(NETWORKS))
    add("--config", help=f"{', '.join(PRESETS)}, or a JSON file (default: the network's)")
    counts = "numbers of cores (default: 2 4)"
    add("--cores", type=integer(2, MOST_CORES), nargs="+", default=[2, 4], metavar="N", help=counts)
    bits = "widths of the memory port (default: that of all cores' ports together)"
    add("--memory-bits", type=positive, nargs="+", default=[], metavar="N", help=bits)
    add("--data", type=Path, help="folder of the networks' datasets")
    add("--out", type=Path, default=_OUT, help="folder for the measurements")
    arguments = parser.parse_args()
    file = arguments.out / "cores.json"
    check_writable_file(file)
    networks = {name: find_network(name) for name in arguments.names}
    systems = [
        (name, System(config=config, cores=count, memory_bits=bits))
        for name, network in networks.items()
        for config in [Config.load(arguments.config or network.config)]
        for count in arguments.cores
        for bits in arguments.memory_bits or [0]
    ]
    measured: list[Measurement] = []
    for name, network in networks.items():
        bundle, point = network.load()
        of_network = [system for of_name, system in systems if of_name == name]
        measured += _measure(name, bundle, point, of_network, arguments.data)
    rows = [{**asdict(one), "speed_up": round(one.speed_up, 3)} for one in measured]
    write_file(file, json.dumps(rows, indent=1) + "\n")
    Console(width=_WIDTH).print(_table(measured))
    print(file)
    return int(any(one.differences for one in measured))


def _measure(
    name: str, bundle: Bundle, point: str, systems: list[System], data: Path | None
) -> list[Measurement]:
    """Run a network on one core, and on each of the systems."""
    config = systems[0].config
    most = max(system.cores for system in systems)
    images = [input_image(bundle, data, number).numpy() for number in range(most)]
    program = compile_bundle(bundle, config, keep=True)
    points = list(dict.fromkeys([DENSE, point]))
    single = [
        Run(program=program, image=image, point=one, latency=LATENCY)
        for one in points
        for image in images
    ]
    measured = []
    with reporting() as report:
        alone = core.simulate(bundle, single, "verilator", report)
        elapsed = [outcome.observed["elapsed"] for outcome in alone.outcomes]
        for system in systems:
            several = for_cores(program, system.cores)
            runs = [
                Run(program=several, image=image, point=one, latency=LATENCY)
                for one in points
                for image in images[: system.cores]
            ]
            label = f"{name} on {system.cores} cores"
            report(f"{label}: build", 0, 1)
            built = cores.build(system, "verilator", end=several.end)
            report(f"{label}: simulation", 0, 1)
            groups = cores.run(built, system, runs)
            layers = forecast(program, system, latency=LATENCY)
            for number, (one, group) in enumerate(zip(points, groups, strict=True)):
                of_point = runs[number * system.cores :][: system.cores]
                measured.append(
                    Measurement(
                        network=name,
                        config=config.name,
                        point=one,
                        cores=system.cores,
                        memory_bits=system.memory_bits,
                        alone=sum(elapsed[number * most :][: system.cores]),
                        together=group.elapsed,
                        differences=len(cores.mismatches(bundle, of_point, [group])),
                        expected=round(speed_up(layers, system.cores), 3),
                        port_share=sum(layer.port for layer in layers)
                        / sum(layer.alone for layer in layers),
                    )
                )
    return measured


def _table(measured: list[Measurement]) -> Table:
    table = Table(title="Several cores on one memory port")
    for column in ("network", "config", "point"):
        table.add_column(column)
    columns = ("cores", "port, bits", "port busy", "cycles alone", "together")
    rate = f"images/s at {ASSUMED_MHZ:g} MHz"
    for column in (*columns, rate, "speed-up", "by the model", "differ"):
        table.add_column(column, justify="right")
    for one in measured:
        table.add_row(
            one.network,
            one.config,
            one.point,
            str(one.cores),
            str(one.memory_bits),
            f"{one.port_share:.0%}",
            f"{one.alone // one.cores:,}",
            f"{one.together:,}",
            f"{one.cores * frames_per_second(ASSUMED_MHZ, one.together):,.0f}",
            f"{one.speed_up:.2f}",
            f"{one.expected:.2f}",
            str(one.differences),
        )
    return table


if __name__ == "__main__":
    run_cli(main)
