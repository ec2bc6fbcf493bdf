"""Measures what 8 bits cost: the accuracy of trained networks, in float and as integers.

    python -m bench.quantisation LIST --data DIR --weights DIR [--test-images N] [--json FILE]

LIST is a file with one network in a line. `NAME: OPTIONS` has the options of `quant/export.py` that
name a network, its weights and its images, and `NAME: BUNDLE OPTIONS` has a bundle's folder and the
options that name images; {data} and {weights} stand for the given folders. Every network is
quantised in the same way, as `quant/export.py` does it, and runs without ZAP. The accuracy in float
of a bundle is in its manifest.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from golden.arguments import Parser, positive, seed_number
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.network import Network, quantise_images
from golden.reading import check_readable
from golden.terminal import Console
from quant.data.images import ImageSet
from quant.data.registry import load_for_bundle
from quant.networks.weights import load_weights
from quant.pipeline.convert import calibration_images
from quant.pipeline.network_options import add_network_options, named_network
from quant.pipeline.quantised_network import quantised_network
from quant.runtime.batch_size import batch_size
from quant.runtime.command_line import command_line
from quant.runtime.outputs import check_outputs, write_json

__all__ = ["Accuracy", "measure_networks"]

_BATCH = 50


@dataclass(frozen=True)
class Accuracy:
    """A network's accuracy in float and as integers, in percent of the test images."""

    network: str
    dataset: str
    images: int
    float_top1: float
    int8_top1: float
    agreement: float | None
    """The images of which both give the same class; None where the float network is not at hand."""

    @property
    def loss(self) -> float:
        """Percentage points that quantisation costs."""
        return self.float_top1 - self.int8_top1


def main() -> None:
    parser = Parser(
        prog="python -m bench.quantisation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("list", type=Path, help="the file that names the networks")
    parser.add_argument("--data", type=Path, default=Path("DATA"), help="folder of the datasets")
    parser.add_argument("--weights", type=Path, default=Path("WEIGHTS"), help="folder of networks")
    images = "measure on the first N test images (default: all)"
    parser.add_argument("--test-images", type=positive, metavar="N", help=images)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    args = parser.parse_args()
    check_outputs(args.json)
    torch.set_num_threads(1)
    folders = {"data": args.data, "weights": args.weights}
    rows = measure_networks(args.list, folders, args.test_images)
    Console().print(_table(rows))
    if args.json is not None:
        document = {
            "command": command_line("bench.quantisation"),
            "networks": _lines(args.list),
            "rows": [{**asdict(row), "loss": round(row.loss, 6)} for row in rows],
        }
        write_json(args.json, document)


def measure_networks(
    file: Path, folders: Mapping[str, Path], test_images: int | None = None
) -> list[Accuracy]:
    """Measure every network that a file names, on the first test images or on all of them.

    Each result is printed at once. `folders` are those that the file's options refer to by name.
    Raises UserError that names the line at fault.
    """
    rows = []
    for name, text in _lines(file).items():
        options = shlex.split(text)
        for folder, path in folders.items():
            options = [option.replace(f"{{{folder}}}", str(path)) for option in options]
        if not options:
            raise UserError(f"{file}: {name}: has no options")
        measure = _of_module if options[0].startswith("-") else _of_bundle
        row = measure(name, options, test_images)
        Console().print(f"{name}: {row.float_top1:.2f} % in float, {row.int8_top1:.2f} % in int8")
        rows.append(row)
    return rows


def _lines(file: Path) -> dict[str, str]:
    """Read the networks: name -> options. Empty lines and comments are left out."""
    check_readable(file, "name the networks in it")
    networks = {}
    for line in file.read_text().splitlines():
        name, colon, options = line.partition(":")
        if line.strip() and not line.startswith("#"):
            if not colon:
                raise UserError(f"{file}: {line!r}: is no NAME: OPTIONS")
            networks[name.strip()] = options.strip()
    if not networks:
        raise UserError(f"{file}: names no network")
    return networks


def _parser(name: str) -> Parser:
    return Parser(prog=f"python -m bench.quantisation: {name}", add_help=False)


def _of_module(name: str, options: list[str], test_images: int | None) -> Accuracy:
    """Quantise a network and measure it."""
    parser = _parser(name)
    add_network_options(parser)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seed", type=seed_number, default=1)
    args = parser.parse_args(options)
    network = named_network(args)
    model, module, dataset = network.model, network.module, network.dataset
    if not dataset.labelled:
        raise UserError(f"{name}: {dataset.name} has no labels to measure accuracy with")
    if args.weights is not None:
        load_weights(module, args.weights, args.classes or len(dataset.classes))
    calibration = calibration_images(dataset, args.seed)
    with torch.no_grad():
        count = module(model.normalise(calibration.pixels(slice(0, 2)))).flatten(1).shape[1]
    bundle = quantised_network(
        module, model, calibration, name="network", classes=dataset.classes_for(count)
    )
    test = dataset.test.first(test_images)
    real = test.labelled_by(lambda pixels: module(model.normalise(pixels)), _BATCH).labels
    integer = _integer_classes(bundle, test)
    return Accuracy(
        network=name,
        dataset=Path(dataset.name).name,
        images=len(test),
        float_top1=_percent(real, test.labels),
        int8_top1=_percent(integer, test.labels),
        agreement=_percent(real, integer),
    )


def _of_bundle(name: str, options: list[str], test_images: int | None) -> Accuracy:
    """Measure a bundle's network, and take its accuracy in float from its provenance."""
    parser = _parser(name)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data", type=Path)
    args = parser.parse_args(options)
    bundle = Bundle.load(args.bundle)
    float_top1 = bundle.manifest.provenance.get("float_top1")
    if not isinstance(float_top1, float):
        raise UserError(f"{args.bundle}: its manifest does not say what float_top1 was")
    dataset = load_for_bundle(bundle, args.dataset, args.data)
    test = dataset.test.first(test_images)
    return Accuracy(
        network=name,
        dataset=Path(dataset.name).name,
        images=len(test),
        float_top1=float_top1,
        int8_top1=_percent(_integer_classes(bundle, test), test.labels),
        agreement=None,
    )


def _integer_classes(bundle: Bundle, test: ImageSet) -> Tensor:
    """Return the class that the integer network gives each image."""
    network = Network(bundle)
    return test.labelled_by(
        lambda pixels: network(quantise_images(bundle, pixels)), batch_size(bundle)
    ).labels


def _percent(classes: Tensor, expected: Tensor) -> float:
    return round(100 * float((classes == expected).double().mean()), 6)


def _table(rows: list[Accuracy]) -> Table:
    table = Table(title="accuracy of quantised networks, without ZAP")
    table.add_column("network", no_wrap=True)
    table.add_column("images of")
    for heading in ("images", "float %", "int8 %", "pp lost", "same class %"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.network,
            row.dataset,
            f"{row.images:,}",
            f"{row.float_top1:.2f}",
            f"{row.int8_top1:.2f}",
            f"{row.loss:.2f}",
            "" if row.agreement is None else f"{row.agreement:.2f}",
        )
    return table


if __name__ == "__main__":
    run_cli(main)
