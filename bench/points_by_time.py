"""Compares operating points chosen by cycles with ones chosen by MACs, on the simulated core.

    python -m bench.points_by_time BUNDLE ... [--error 0.1] [--config small] [--json FILE]

Both are chosen at the same sum of eps, which is what a loss of accuracy is predicted by, from the
same statistics. The core runs one test image without ZAP and at both points. Every ofm is compared
with golden: there are no figures of a wrong run.

Rows go into the JSON list network by network; there they replace those of the same network and
configuration.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table

from bench.measure import simulate
from compiler.costs_file import network_costs
from compiler.program import DENSE
from golden.arguments import Parser, positive
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.network import quantise_images
from golden.reading import read_json
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.data.images import ImageSet
from quant.data.registry import DATASETS, load_for_bundle
from quant.pipeline.budgeted_points import bundle_patterns
from quant.points.alternatives import Granularity
from quant.points.chooser import Chooser
from quant.points.cycle_savings import CycleSavings
from quant.points.evaluation import evaluate
from quant.points.knapsack import best_within_error
from quant.points.operating_points import add_operating_point
from quant.points.statistics import collect_statistics
from quant.runtime.options import parse_number
from quant.runtime.outputs import check_outputs, write_json
from quant.runtime.progress import reporting
from tb.runs.whole_networks import MEMORY_END
from tb.simulators.errors import SimulationError

__all__: list[str] = []

_ERROR = "0.1"
_STATISTICS_IMAGES = 1000
_TEST_IMAGES = 2000
_WAYS = ("by-macs", "by-cycles")


@dataclass(frozen=True)
class Compared:
    """A network at one operating point, beside the network without ZAP."""

    network: str
    config: str
    chosen: str
    error: float
    """Sum of eps, by the statistics."""
    drop: float
    """Percentage points of accuracy lost on the test images."""
    mac_reduction: float
    """Share of conv MACs skipped on these."""
    zaps: int
    """Layers that run with a ZAP."""
    cycles_off: int | None
    """The core's cycles of one image without ZAP; None if it was not simulated."""
    cycles_on: int | None
    slower: list[str]
    """Layers that took more cycles with ZAP."""
    model_speed_up: float
    """Cycles without ZAP / cycles with it, by the cycle model at the mean of the statistics."""

    @property
    def speed_up(self) -> float | None:
        """Cycles of the core without ZAP / cycles with it."""
        if self.cycles_off is None or self.cycles_on is None:
            return None
        return self.cycles_off / self.cycles_on


def main() -> None:
    """Run the command line: print two rows for each bundle."""
    parser = Parser(prog="python -m bench.points_by_time", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("bundles", type=Path, nargs="+", metavar="BUNDLE", help="directories of bundles")
    add("--error", default=_ERROR, metavar="E", help=f"sum of eps (default: {_ERROR})")
    add("--config", default="small", help=f"{', '.join(PRESETS)}, or a JSON file")
    add("--data", type=Path, metavar="DIR", help="the built-in datasets' folder or its parent")
    images = f"test images to measure losses on (default: {_TEST_IMAGES:,})"
    add("--images", type=positive, default=_TEST_IMAGES, metavar="N", help=images)
    add("--no-rtl", action="store_true", help="do not simulate: the cycle model alone")
    add("--json", type=Path, metavar="FILE", help="also add the rows to this list")
    args = parser.parse_args()
    check_outputs(args.json)
    error = parse_number(args.error, "--error")
    if error <= 0:
        raise UserError(f"--error {args.error} is not positive")
    config = Config.load(args.config)
    rows = []
    for path in args.bundles:
        compared = _compare(path, error, config, args.data, args.images, rtl=not args.no_rtl)
        rows += compared
        if args.json is not None:
            _add_to_list(args.json, compared)
    Console().print(_table(rows))


def _add_to_list(file: Path, rows: Sequence[Compared]) -> None:
    """Add the rows of a network to a JSON list, in place of older ones."""
    entries = read_json(file) if file.exists() else []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{file}: is no list of points; choose another file")
    new = [{**asdict(row), "speed_up": row.speed_up} for row in rows]
    named = {(entry["network"], entry["config"]) for entry in new}
    kept = [e for e in entries if (e.get("network"), e.get("config")) not in named]
    write_json(file, kept + new)


def _compare(
    path: Path, error: float, config: Config, data: Path | None, images: int, *, rtl: bool
) -> list[Compared]:
    bundle = Bundle.load(path)
    name = str(bundle.manifest.provenance.get("dataset"))
    dataset = load_for_bundle(bundle, name, data if name in DATASETS else None)
    test = dataset.test.first(images)
    costs = CycleSavings(network_costs(bundle, config))
    patterns = bundle_patterns(bundle)
    count = min(_STATISTICS_IMAGES, len(dataset.train))
    statistics = collect_statistics(bundle, dataset.train.first(count))
    choices = {}
    both = bundle
    for way, cycles in zip(_WAYS, (None, costs)):
        chooser = Chooser(statistics, patterns, Granularity.CHANNEL, cycles)
        choices[way] = best_within_error(chooser.layers, error)
        both = add_operating_point(both, way, choices[way].layers)
    counted = _simulated(both, config, test) if rtl else {}
    dense = evaluate(bundle, {}, test, "dense")
    rows = []
    for way, choice in choices.items():
        result = evaluate(*both.at(way), test, way)
        off, on = counted.get(DENSE, {}), counted.get(way, {})
        rows.append(
            Compared(
                network=bundle.manifest.name,
                config=config.name,
                chosen=way,
                error=choice.error,
                drop=dense.top1 - result.top1,
                mac_reduction=result.mac_reduction,
                zaps=len(choice.layers),
                cycles_off=sum(off.values()) or None,
                cycles_on=sum(on.values()) or None,
                slower=[layer for layer in choice.layers if rtl and on[layer] > off[layer]],
                model_speed_up=1 / (1 - costs.reduction(statistics, choice.layers)),
            )
        )
    return rows


def _simulated(bundle: Bundle, config: Config, test: ImageSet) -> Mapping[str, dict[str, int]]:
    """Run one image on the core; return each point's cycles of each layer."""
    pixels, _ = next(test.batches(1))
    image = quantise_images(bundle, pixels)[0].to(torch.int32)
    points = (DENSE, *_WAYS)
    with reporting() as report:
        simulated = simulate(bundle, config, image, points, report, end=MEMORY_END, long_runs=True)
    for checks in simulated.checks:
        for check in checks:
            if check.mismatch is not None:
                raise SimulationError(f"{bundle.manifest.name}: {check.mismatch}")
    return {
        point: {check.name: check.counters["elapsed"] for check in checks}
        for point, checks in zip(points, simulated.checks)
    }


def _table(rows: list[Compared]) -> Table:
    table = Table(title="operating points by MACs and by cycles, at the same sum of eps")
    table.add_column("network", no_wrap=True)
    table.add_column("config")
    table.add_column("chosen", no_wrap=True)
    for heading in ("eps", "pp lost", "MACs %", "ZAPs", "model", "core", "slower layers"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.network,
            row.config,
            row.chosen,
            f"{row.error:.3f}",
            f"{row.drop:.2f}",
            f"{100 * row.mac_reduction:.1f}",
            str(row.zaps),
            f"{row.model_speed_up:.3f}",
            "" if row.speed_up is None else f"{row.speed_up:.3f}",
            ", ".join(row.slower) or "none" if row.speed_up else "",
        )
    return table


if __name__ == "__main__":
    run_cli(main)
