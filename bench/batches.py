"""Tells what a network takes for each image if a core runs several at a time: by the cycle model.

    python -m bench.batches NAME ... --batch 1 8 [--simulate [NAME ...]]
    python -m bench.batches --bundle DIR --point NAME --batch 1 8 [--data DIR] [--image N|FILE]

A layer with ZAP reads its weights for each image, one without may read them once for all
(`compiler.batches`). So ZAP is left out of the layers where that saves less than reading weights
once does; the operating point is otherwise the network's. With --simulate the images of all
networks, or of those named, also run on the simulated core: every layer is compared with golden,
and cycles are counted.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from bench.designs import keep_one_point
from bench.figures import frames_per_second
from bench.fpga_results import clock_of, find_build
from bench.measure import kept_shares
from compiler.build import compile_bundle
from compiler.costs import LATENCY, NetworkCosts
from compiler.cycles import layer_cycles
from compiler.program import DENSE, MOST_IMAGES
from golden.arguments import Parser, integer
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.network import Network, quantise_images
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.exchange.core_files import Run
from tb.runs import core
from tb.runs.images import add_image_options, chosen_images, chosen_input, input_image
from tb.runs.whole_networks import (
    MEMORY_END,
    NETWORKS,
    WholeNetwork,
    find_network,
    network_of_bundle,
)
from tb.simulators.errors import SimulationError

__all__ = ["BatchCycles", "batch_cycles", "without_zap_in"]

_WIDTH = 110
"""The table's width in characters."""


@dataclass(frozen=True, kw_only=True)
class BatchCycles:
    """A network on a core that runs several images at a time.

    Parameters
    ----------
    network, config, point : str
    images : int
    off, on : int
        Cycles of each image without ZAP and with it, by the model.
    left_out : list of str
        Layers of the operating point that run without ZAP.
    clock_mhz, images_a_second : float
        With ZAP, at the clock where the core was placed.
    memory_bytes : int
        Bytes of the window that the program needs.
    counted_on : int or None
        Cycles of each image with ZAP in simulation; None where nothing was simulated.
    """

    network: str
    config: str
    point: str
    images: int
    off: int
    on: int
    left_out: list[str]
    clock_mhz: float
    images_a_second: float
    memory_bytes: int
    counted_on: int | None = None


def main() -> None:
    parser = Parser(prog="bench.batches", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    add("--config", help=f"{', '.join(PRESETS)}, or a JSON file (default: the network's)")
    add("--bundle", type=Path, metavar="DIR", help="the network of a bundle instead")
    add("--point", metavar="NAME", help="operating point of that bundle (default: the first)")
    add_image_options(parser)
    counts = "images at a time (default: 1 8)"
    add("--batch", type=integer(1, MOST_IMAGES), nargs="+", default=[1, 8], help=counts)
    simulate = "run the images of these networks on the simulated core too (default: of all)"
    add("--simulate", nargs="*", metavar="NAME", help=simulate)
    add("--out", type=Path, default=Path("build/bench/batches.json"), help="JSON file")
    arguments = parser.parse_args()
    networks = _networks(arguments)
    check_writable_file(arguments.out)
    rows = []
    for name, network in networks.items():
        config = Config.load(arguments.config or network.config)
        bundle, point = network.load()
        named = arguments.bundle is None
        pixels = chosen_input(bundle, arguments.data, arguments.image, textures=named)
        kept = kept_shares(bundle, point, pixels)
        for images in arguments.batch:
            run, row = batch_cycles(name, bundle, point, kept, config, images)
            if arguments.simulate is not None and name in (arguments.simulate or networks):
                row = _simulated(run, row, config, _images(bundle, arguments, images, named))
            rows.append(row)
    Console(width=_WIDTH).print(_table(rows))
    write_file(arguments.out, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(arguments.out)


def batch_cycles(
    name: str,
    bundle: Bundle,
    point: str,
    kept: Mapping[str, np.ndarray],
    config: Config,
    images: int,
) -> tuple[Bundle, BatchCycles]:
    """Estimate a network that runs so many images at a time, at an operating point.

    `kept` has the share of `I_t` that is computed, for each channel of each layer with ZAP. Returns
    also the bundle whose one operating point that is, without ZAP where it does not pay.
    """
    _, predictors = bundle.at(point)
    costs = NetworkCosts(keep_one_point(bundle, point), config, images=images)
    skips = {
        layer: (
            zap.pattern,
            costs.most_skipped(layer, zap.pattern) * (1 - float(np.mean(kept[layer]))),
        )
        for layer, zap in predictors.items()
    }
    saved = {layer: costs.saved(layer, *skip) for layer, skip in skips.items()}
    left_out = [layer for layer in predictors if images > 1 and saved[layer] <= 0]
    run = without_zap_in(bundle, point, left_out)
    program = compile_bundle(run, config, images=images)
    off = layer_cycles(program, DENSE)
    on = layer_cycles(program, point, {n: k for n, k in kept.items() if n not in left_out})
    build = find_build(config)
    clock = clock_of(build)
    each = sum(layer.elapsed for layer in on.values()) / images
    return run, BatchCycles(
        network=name,
        config=config.name,
        point=point,
        images=images,
        off=round(sum(layer.elapsed for layer in off.values()) / images),
        on=round(each),
        left_out=left_out,
        clock_mhz=clock,
        images_a_second=round(frames_per_second(clock, each), 2),
        memory_bytes=program.end,
    )


def without_zap_in(bundle: Bundle, point: str, layers: Sequence[str]) -> Bundle:
    """Return the bundle with one operating point, and without that one's ZAP in some layers."""
    bundle = keep_one_point(bundle, point)
    (whole,) = bundle.manifest.operating_points
    choices = {name: choice for name, choice in whole.layers.items() if name not in layers}
    changed = bundle.manifest.model_copy(
        update={"operating_points": [whole.model_copy(update={"layers": choices})]}
    )
    used = f"operating_points.{point}."
    gone = {f"{used}{name}.threshold" for name in layers}
    tensors = {
        name: tensor
        for name, tensor in bundle.tensors.items()
        if (name.startswith(used) or not name.startswith("operating_points.")) and name not in gone
    }
    return Bundle(changed, tensors)


def _networks(arguments: Namespace) -> dict[str, WholeNetwork]:
    """Return the networks by name."""
    if arguments.bundle is not None:
        if arguments.names:
            raise UserError(f"{arguments.names[0]}: give either names or a --bundle")
        return dict([network_of_bundle(arguments.bundle, arguments.point)])
    if arguments.point is not None:
        raise UserError("--point is for a --bundle; networks that are named have theirs")
    return {name: find_network(name) for name in arguments.names or NETWORKS}


def _images(bundle: Bundle, arguments: Namespace, count: int, named: bool) -> torch.Tensor:
    """Return quantised images, int32 (images, channels, height, width); named networks have own."""
    if named and arguments.image == "0":
        return torch.stack([input_image(bundle, arguments.data, n) for n in range(count)])
    pixels, _ = chosen_images(bundle, arguments.data, arguments.image, count)
    return quantise_images(bundle, pixels)


def _simulated(
    bundle: Bundle, row: BatchCycles, config: Config, images: torch.Tensor
) -> BatchCycles:
    """Count the cycles of these images. Raises SimulationError where anything differs.

    Every image must have the bits that golden gives it alone.
    """
    network = Network(*bundle.at(row.point))
    for number, one in enumerate(images):
        if not torch.equal(network(one[None])[0], network(images)[number]):
            raise SimulationError(f"golden gives image {number} other bits beside others")
    program = compile_bundle(bundle, config, keep=True, images=row.images)
    place = program.tensors[program.input]
    image = images.numpy().reshape(place.whole_shape)
    run = Run(program=program, image=image, point=row.point, latency=LATENCY)
    with reporting() as report:
        simulated = core.simulate(
            bundle, [run], "verilator", report, end=MEMORY_END, long_runs=True
        )
    if simulated.mismatch is not None:
        raise SimulationError(f"{row.network}: {simulated.mismatch}")
    counted = sum(check.counters["elapsed"] for check in simulated.checks[0])
    return BatchCycles(**{**asdict(row), "counted_on": round(counted / row.images)})


def _table(rows: Sequence[BatchCycles]) -> Table:
    table = Table(title="cycles of each image, by the model")
    table.add_column("network")
    headings = ("core", "images at a time", "ZAP off", "ZAP on", "counted", "images a second")
    for heading in (*headings, "MiB", "without ZAP"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.network,
            row.config,
            str(row.images),
            f"{row.off:,}",
            f"{row.on:,}",
            "" if row.counted_on is None else f"{row.counted_on:,}",
            f"{row.images_a_second:,.2f}",
            f"{row.memory_bytes / (1 << 20):.1f}",
            f"{len(row.left_out)} layers" if row.left_out else "",
        )
    return table


if __name__ == "__main__":
    run_cli(main)
