"""Measures how many images an evaluation runs each second: in golden, and in compiled code.

    python -m bench.evaluation BUNDLE ... [--point NAME] [--data DIR] [--images N] [--json FILE]

Both run the same images in turn, a batch at a time, so that other work on the machine slows both.
Everything they count is compared, and every activation of every layer: there are no figures of a
run that differs from golden.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from golden.arguments import Parser, positive
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.network import Network, quantise_images
from golden.terminal import Console
from quant.data.registry import DATASETS, load_for_bundle
from quant.native.network import NativeNetwork, native_network
from quant.points.accounting import Evaluation
from quant.points.evaluation import run_batch
from quant.runtime.batch_size import batch_size
from quant.runtime.outputs import check_outputs, write_json
from quant.runtime.progress import progress

__all__: list[str] = []

_IMAGES = 1000


@dataclass(frozen=True)
class Speed:
    """A network's speed at an operating point; `golden` and `compiled` are images per second."""

    network: str
    point: str
    images: int
    threads: int
    golden: float
    compiled: float
    refused: list[str]
    """Layers whose sums golden computes, because 8-bit arithmetic is not exact for them here."""

    @property
    def ratio(self) -> float:
        """Compiled code is so many times as fast."""
        return self.compiled / self.golden


def main() -> None:
    """Run the command line: print one row for each bundle."""
    parser = Parser(prog="python -m bench.evaluation", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("bundles", type=Path, nargs="+", metavar="BUNDLE", help="directories of bundles")
    add("--point", default="default", metavar="NAME", help="operating point (default: default)")
    add("--data", type=Path, metavar="DIR", help="the built-in datasets' folder or its parent")
    add("--images", type=positive, default=_IMAGES, metavar="N", help="test images of each")
    add("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    args = parser.parse_args()
    check_outputs(args.json)
    rows = [_measure(path, args.point, args.data, args.images) for path in args.bundles]
    Console().print(_table(rows))
    if args.json is not None:
        write_json(args.json, [{**asdict(row), "ratio": row.ratio} for row in rows])


def _measure(path: Path, point: str, data: Path | None, images: int) -> Speed:
    bundle = Bundle.load(path)
    network, predictors = bundle.at(point)
    name = str(bundle.manifest.provenance.get("dataset"))
    files = data if name in DATASETS else None
    test = load_for_bundle(bundle, name, files).test.first(images)
    reference = Network(network, predictors)
    compiled = native_network(network, predictors)
    if compiled is None:
        raise UserError("no compiled kernels on this machine: install a C++ compiler (c++)")
    size = batch_size(bundle)
    warm = next(test.batches(size))
    seconds = [0.0, 0.0]
    run_batch(reference, *warm)
    run_batch(compiled, *warm)
    batches = -(-len(test) // size)
    for pixels, labels in progress(test.batches(size), batches, bundle.manifest.name):
        expected, before = _timed(reference, pixels, labels)
        found, after = _timed(compiled, pixels, labels)
        seconds[0] += before
        seconds[1] += after
        _compare(path, expected, found)
        _compare_maps(path, reference, compiled, quantise_images(network, pixels))
    return Speed(
        network=bundle.manifest.name,
        point=point,
        images=len(test),
        threads=torch.get_num_threads(),
        golden=len(test) / seconds[0],
        compiled=len(test) / seconds[1],
        refused=compiled.refused,
    )


def _timed(
    network: Network | NativeNetwork, pixels: Tensor, labels: Tensor
) -> tuple[Evaluation, float]:
    start = time.perf_counter()
    result = run_batch(network, pixels, labels)
    return result, time.perf_counter() - start


def _compare(path: Path, expected: Evaluation, found: Evaluation) -> None:
    if expected != found:
        raise UserError(f"{path}: compiled code counts {found}, golden {expected}")


def _compare_maps(path: Path, reference: Network, compiled: NativeNetwork, images: Tensor) -> None:
    for one, other in zip(reference.steps(images), compiled.steps(images), strict=True):
        if not torch.equal(one.ofm, other.ofm.to(torch.int32)):
            raise UserError(f"{path}: the ofm of {one.node.name} differs from golden")


def _table(rows: list[Speed]) -> Table:
    table = Table(title="int8 + ZAP evaluation, every bit compared")
    table.add_column("network", no_wrap=True)
    table.add_column("point")
    for heading in ("images", "threads", "golden/s", "compiled/s", "times", "refused layers"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.network,
            row.point,
            f"{row.images:,}",
            str(row.threads),
            f"{row.golden:,.0f}",
            f"{row.compiled:,.0f}",
            f"{row.ratio:.2f}",
            str(len(row.refused)),
        )
    return table


if __name__ == "__main__":
    run_cli(main)
