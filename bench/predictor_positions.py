"""Says what several positions a cycle of the predictor bring to networks, and what they cost.

    python -m bench.predictor_positions [--synthesise] [--out FILE]

Cycles are those of the compiler's model, with mask B and a share of the activations that ZAP skips
in each layer that it makes faster. Neither trained weights nor images are needed, because shapes
decide. With --synthesise, Yosys counts what the predictor of each width takes on an ECP5, alone.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from bench.designs import sized_config
from compiler.costs import NetworkCosts
from golden.arguments import Parser
from golden.bundle import Bundle
from golden.errors import run_cli
from golden.files import check_writable_file, write_file
from golden.pattern import MASKS
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from hw.fpga import ecp5
from hw.fpga.blocks import Ecp5
from hw.fpga.ecp5 import Use
from hw.predictor.predictor import Predictor
from hw.verilog_output import emit
from quant.pipeline.shaped_network import shaped_network

__all__ = ["Row", "rows_of", "widened"]

_NETWORKS: dict[str, tuple[str, tuple[int, int, int] | None]] = {
    "ResNet-8": ("examples/networks/mlperf_tiny.py:ResNet8", (3, 32, 32)),
    "ResNet-20": ("resnet20", None),
    "VGG-16 at quarter width": ("vgg16-cifar-quarter", None),
    "SqueezeNet 1.0": ("examples/networks/squeezenet.py:SqueezeNet", (3, 227, 227)),
}
"""Network -> as --model has it, and the shape of its images where it does not say."""
_CONFIGS = {
    "narrow": PRESETS["narrow"],
    "default": PRESETS["default"],
    "256 multipliers": sized_config(64, 4, 128, 2048, 64),
    "1,024 multipliers": sized_config(128, 8, 256, 2048, 128),
}
_POSITIONS = (1, 2, 4)
_SHARES = (0.2, 0.3, 0.4)
_SYNTHESISED = ((1, 15), (2, 15), (2, 30))
"""Positions a cycle and DSP blocks of the predictors of `default` that are synthesised."""
_WIDTH = 120
"""The tables' width in characters."""


@dataclass(frozen=True)
class Row:
    """A network on a configuration, with so many positions a cycle and such a share skipped.

    Parameters
    ----------
    network, config : str
    positions : int
    share : float
        Of the activations of each layer with ZAP.
    layers : int
        Those in which ZAP saves cycles; only they have one.
    cycles_off, cycles_on : int
        Of the whole network.
    macs_skipped : float
        Share of all MACs.
    """

    network: str
    config: str
    positions: int
    share: float
    layers: int
    cycles_off: int
    cycles_on: int
    macs_skipped: float

    @property
    def speed_up(self) -> float:
        """Cycles without ZAP / cycles with it."""
        return self.cycles_off / self.cycles_on

    @property
    def efficiency(self) -> float:
        """E: the share of the promised speed-up that is there, of the whole network."""
        return self.speed_up * (1 - self.macs_skipped)


def widened(config: Config, positions: int) -> Config:
    """Return the configuration with so many positions a cycle; tables are for one only."""
    tables = config.predictor_tables if positions == 1 else 0
    return replace(config, predictor_positions=positions, predictor_tables=tables)


def rows_of(network: str, bundle: Bundle, name: str, config: Config) -> Iterator[Row]:
    """Yield the rows of a network on a configuration of that name, one for each share."""
    costs = NetworkCosts(bundle, config)
    off = round(sum(layer.elapsed for layer in costs.cycles().values()))
    macs = {step.name: step.macs for step in costs.steps}
    for share in _SHARES:
        skips = costs.saving(MASKS["B"], share)
        skipped = sum(macs[name] * part for name, (_, part) in skips.items())
        yield Row(
            network=network,
            config=name,
            positions=config.predictor_positions,
            share=share,
            layers=len(skips),
            cycles_off=off,
            cycles_on=round(sum(layer.elapsed for layer in costs.cycles(skips).values())),
            macs_skipped=round(skipped / sum(macs.values()), 4),
        )


def _cost(positions: int, dsps: int) -> Use:
    """Synthesise a predictor of `default` alone."""
    config = replace(widened(PRESETS["default"], positions), predictor_dsps=dsps)
    with TemporaryDirectory() as folder:
        verilog = write_file(
            Path(folder) / "predictor.v", emit(Predictor(config), "predictor", Ecp5())
        )
        netlist = ecp5.synthesise(
            verilog, "predictor", lambda text: print(text, file=sys.stderr, flush=True)
        )
        return sum(ecp5.use_of(netlist.cells).values(), Use())


def main() -> None:
    parser = Parser(prog="bench.predictor_positions", description=__doc__.splitlines()[0])
    default = Path("build/predictor_positions.json")
    parser.add_argument("--out", type=Path, default=default, help="JSON file to write")
    parser.add_argument("--synthesise", action="store_true", help="count LUTs too; takes minutes")
    arguments = parser.parse_args()
    check_writable_file(arguments.out)
    console = Console(width=_WIDTH)
    rows: list[Row] = []
    for network, (model, shape) in _NETWORKS.items():
        bundle = shaped_network(model, shape, None)
        for name, config in _CONFIGS.items():
            for positions in _POSITIONS:
                rows += rows_of(network, bundle, name, widened(config, positions))
    console.print(_table(rows))
    costs: list[tuple[int, Use]] = []
    if arguments.synthesise:
        costs = [(positions, _cost(positions, dsps)) for positions, dsps in _SYNTHESISED]
        console.print(_cost_table(costs))
    document = {
        "networks": [asdict(row) for row in rows],
        "predictor_alone": [{"positions": width, **asdict(use)} for width, use in costs],
    }
    write_file(arguments.out, json.dumps(document, indent=1) + "\n")
    console.print(f"wrote {arguments.out}", soft_wrap=True, highlight=False)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="mask B, cycles by the model, whole networks")
    for heading in ("network", "configuration"):
        table.add_column(heading)
    for heading in ("positions", "skipped", "layers", "ZAP off", "on", "speed-up", "E"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.network,
            row.config,
            str(row.positions),
            f"{row.share:.0%}",
            str(row.layers),
            f"{row.cycles_off:,}",
            f"{row.cycles_on:,}",
            f"{row.speed_up:.3f}",
            f"{row.efficiency:.3f}",
        )
    return table


def _cost_table(costs: Sequence[tuple[int, Use]]) -> Table:
    table = Table(title="the predictor of default alone, on an ECP5")
    for heading in ("positions", "LUTs", "flip-flops", "DSP blocks", "block RAM"):
        table.add_column(heading, justify="right")
    for positions, use in costs:
        table.add_row(str(positions), *map(str, (use.lut, use.ff, use.dsp, use.bram)))
    return table


if __name__ == "__main__":
    run_cli(main)
