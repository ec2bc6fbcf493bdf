"""Compares MobileNetV2's depthwise layers with its pointwise ones, in cycles of the core.

    python -m bench.depthwise [--config default] [--size 224] [--simulate] [--out FILE]

The network has the shapes of MobileNetV2 at full width (Sandler et al. 2018, table 2) and random
integers for weights: without ZAP, cycles do not depend on them. They are those of the cycle model;
with `--simulate` Verilator counts them as well, on a random image, and every activation is compared
with golden's. At full size that takes about half an hour. `--out` writes what was counted.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import argparse
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from compiler.build import compile_bundle
from compiler.costs import LATENCY
from compiler.cycles import layer_cycles
from compiler.program import DENSE, Program
from golden import arithmetic
from golden.arguments import Parser, positive
from golden.bundle import Bundle
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.layers import Conv
from golden.manifest import (
    SCHEMA_VERSION,
    Activation,
    ConvNode,
    Input,
    Manifest,
    Node,
    PoolNode,
)
from golden.terminal import Console
from hw.contract.config import PRESETS, Config
from quant.runtime.progress import reporting
from tb.exchange.core_files import Run
from tb.random.draws import Draw, draw_conv, draw_shortcut
from tb.random.networks import conv_node, conv_tensors
from tb.runs import core

__all__ = ["kinds", "mobilenet_v2"]

_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repetitions and stride of the first of a row of blocks."""
_FIRST, _LAST = 32, 1280
_KINDS = ("depthwise", "pointwise")
_SEED = 1


@dataclass(frozen=True)
class _Layer:
    """A convolution by its shape: `kernel` and `stride` alike in both directions."""

    name: str
    ifm: str
    channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    relu: bool = True
    residual: str = ""


def _layers() -> Iterator[_Layer]:
    """MobileNetV2's convolutions, in order."""
    yield _Layer("first", "image", _FIRST, kernel=3, stride=2)
    ifm, channels, number = "first", _FIRST, 0
    for expansion, wanted, repetitions, first_stride in _BLOCKS:
        for repetition in range(repetitions):
            number += 1
            stride = 1 if repetition else first_stride
            wide, source = channels * expansion, ifm
            if expansion > 1:
                yield _Layer(f"pointwise{number}a", source, wide)
                source = f"pointwise{number}a"
            name = f"depthwise{number}"
            yield _Layer(name, source, wide, kernel=3, stride=stride, groups=wide)
            residual = ifm if stride == 1 and channels == wanted else ""
            ifm = f"pointwise{number}b"
            yield _Layer(ifm, name, wanted, relu=False, residual=residual)
            channels = wanted
    yield _Layer("pointwise_last", ifm, _LAST)


def mobilenet_v2(size: int) -> Bundle:
    """A bundle of the network for square images of that size, a multiple of 32, and ten classes."""
    rng = random.Random(_SEED)
    draw = Draw(torch.Generator().manual_seed(_SEED))
    activations = {"image": Activation(shape=(3, size, size), signed=True, scale=1)}
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}

    def add(layer: Conv, ifm: str, residual: str, *, fully_connected: bool = False) -> None:
        shape = (len(layer.weight), *layer.output_size(*activations[ifm].shape[1:]))
        activations[layer.name] = Activation(shape=shape, signed=layer.signed_output, scale=1)
        tensors.update(conv_tensors(layer))
        nodes.append(conv_node(layer, ifm, residual, fully_connected=fully_connected))

    for layer in _layers():
        channels = activations[layer.ifm].shape[0]
        conv = draw_conv(
            draw,
            rng,
            layer.name,
            (layer.channels, channels // layer.groups, layer.kernel, layer.kernel),
            stride=(layer.stride, layer.stride),
            padding=(layer.kernel // 2,) * 4,
            groups=layer.groups,
            signed_output=not layer.relu,
        )
        if layer.residual:
            conv = replace(conv, shortcut=draw_shortcut(draw, rng, conv, 1, 0))
        add(conv, layer.ifm, layer.residual)
    last = nodes[-1].name
    channels, height, width = activations[last].shape
    multiplier, shift = arithmetic.split_scale(np.array(1 / (height * width)))
    nodes.append(
        PoolNode(
            op="average_pool",
            name="pool",
            input=last,
            output="pool",
            kernel=(height, width),
            stride=(1, 1),
            multiplier=int(multiplier),
            shift=int(shift),
        )
    )
    activations["pool"] = Activation(shape=(channels, 1, 1), signed=False, scale=1)
    classes = draw_conv(draw, rng, "classes", (10, channels, 1, 1), signed_output=True)
    add(classes, "pool", "", fully_connected=True)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name="mobilenet_v2",
        input=Input(tensor="image", mean=[0.0] * 3, std=[1.0] * 3),
        output="classes",
        classes=[str(number) for number in range(10)],
        activations=activations,
        layers=nodes,
    )
    return Bundle(manifest, tensors)


def main() -> None:
    """Run the command line."""
    parser = Parser(
        prog="python -m bench.depthwise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", default="default", help=f"{', '.join(PRESETS)}, or a JSON file")
    add("--size", type=positive, default=224, help="height and width of an image (default: 224)")
    add("--out", type=Path, help="file for what was counted (JSON)")
    add("--simulate", action="store_true", help="count the cycles in simulation as well")
    arguments = parser.parse_args()
    if arguments.size % 32:
        raise UserError(f"--size {arguments.size} is no multiple of 32")
    if arguments.out is not None:
        if not arguments.simulate:
            raise UserError("--out needs --simulate: it writes what was counted")
        check_writable_file(arguments.out)
    config = Config.load(arguments.config)
    bundle = mobilenet_v2(arguments.size)
    program = compile_bundle(bundle, config, keep=True)
    model = {n: c.elapsed for n, c in layer_cycles(program, latency=LATENCY).items()}
    counted = _counted(bundle, program) if arguments.simulate else {}
    if arguments.out is not None:
        document = {"config": config.name, "size": arguments.size, "cycles": counted}
        write_file(arguments.out, json.dumps(document, indent=1) + "\n")
    Console().print(_table(bundle, config, model, counted))
    results = sum(
        prod(bundle.manifest.activations[name].shape)
        for name in model
        if name.startswith(_KINDS[0])
    )
    ratio = results / kinds(model)[1]
    print(f"one result a cycle: depthwise {results:,} cycles, depthwise / pointwise {ratio:.3f}")
    for what, cycles in {"model": model, "counted": counted}.items():
        if cycles:
            depthwise, pointwise = kinds(cycles)
            print(
                f"{what}: depthwise {depthwise:,.0f} cycles, pointwise {pointwise:,.0f} cycles, "
                f"depthwise / pointwise {depthwise / pointwise:.3f}"
            )


def kinds(cycles: Mapping[str, float]) -> tuple[float, float]:
    """Return the cycles of all depthwise layers and of all pointwise ones."""
    depthwise, pointwise = (
        sum(count for name, count in cycles.items() if name.startswith(kind)) for kind in _KINDS
    )
    return depthwise, pointwise


def _counted(bundle: Bundle, program: Program) -> dict[str, float]:
    """The cycles of each layer in simulation. Raises SimulationError where a bit differs."""
    draw = Draw(torch.Generator().manual_seed(_SEED))
    image = draw(arithmetic.S8, *bundle.manifest.activations["image"].shape)
    run = Run(program=program, image=image.to(torch.int32).numpy(), point=DENSE, latency=LATENCY)
    with reporting() as report:
        simulated = core.simulate(bundle, [run], "verilator", report, end=program.end)
    if simulated.mismatch is not None:
        raise UserError(simulated.mismatch)
    (checks,) = simulated.checks
    return {check.name: check.counters["elapsed"] for check in checks}


def _table(
    bundle: Bundle, config: Config, model: dict[str, float], counted: dict[str, float]
) -> Table:
    table = Table(title=f"{bundle.manifest.name} on zapcore_{config.name}, cycles without ZAP")
    table.add_column("layer")
    for heading in ("ofm", "stride", "model", "counted", "model / counted"):
        table.add_column(heading, justify="right")
    for node in bundle.manifest.layers:
        name = node.name
        if not isinstance(node, ConvNode):
            continue
        table.add_row(
            name,
            "x".join(map(str, bundle.manifest.activations[name].shape)),
            str(node.stride[0]),
            f"{model[name]:,.0f}",
            f"{counted[name]:,}" if name in counted else "",
            f"{model[name] / counted[name]:.3f}" if name in counted else "",
        )
    return table


if __name__ == "__main__":
    run_cli(main)
