"""Measures a network on the simulated core: cycles of every layer without ZAP, with it, and more.

Runs of one image: without ZAP, at an operating point, and, if asked for, at the same point on a
core that does not compact (`Config.compact`). What they counted is kept in a JSON file, so that
tables and charts need no simulator. Every ofm is compared with golden; a figure of a wrong run is
no figure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.figures import LayerRun
from compiler.build import compile_bundle
from compiler.program import DENSE, Program
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import ConvResult
from golden.manifest import ConvNode
from golden.network import Network
from hw.contract.config import Config
from quant.runtime.progress import Reporter
from tb.exchange.core_files import Run
from tb.runs import core
from tb.runs.images import input_image
from tb.runs.whole_networks import MEMORY_END, WholeNetwork
from tb.simulators.errors import SimulationError
from tb.simulators.toolchain import Simulator

__all__ = [
    "LATENCY",
    "Layer",
    "Measurement",
    "kept_shares",
    "layers",
    "load",
    "measure",
    "save",
    "simulate",
]

LATENCY = 40
"""Of the memory, in cycles."""
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of a network and what its runs counted.

    Parameters
    ----------
    name : str
    convolution : bool
        Counts in figures of the network; neither fully connected nor only a pooling.
    macs : int
        As in `bench.figures.LayerRun`.
    ifm, kernel, stride : shapes
        (channels, height, width) with padding, (height, width), (height, width).
    ofm : (channels, height, width)
        Before any pooling.
    kept : list of int
        Of each channel, how many activations of `I_t` were computed with ZAP; empty without ZAP.
    off, on, idle : {counter: count}
        `hw.contract.counters.CORE_COUNTERS` without ZAP, with it, and with it but without
        compaction; the last may be empty.
    """

    name: str
    convolution: bool
    macs: int
    ifm: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    ofm: tuple[int, int, int]
    kept: list[int]
    off: dict[str, int]
    on: dict[str, int]
    idle: dict[str, int]

    @property
    def run(self) -> LayerRun:
        """As the figures of merit want it."""
        channels, height, width = self.ofm
        return LayerRun(
            macs=self.macs,
            activations=channels * height * width,
            skipped=self.on["skipped"],
            cycles_off=self.off["elapsed"],
            cycles_on=self.on["elapsed"],
            wait_predictor=self.on["wait_predictor"],
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A network on a configuration."""

    network: str
    trained: bool
    point: str
    config: Config
    layers: list[Layer]


def measure(
    name: str,
    source: WholeNetwork,
    config: Config,
    data: Path | None,
    report: Reporter,
    *,
    idle_lanes: bool,
) -> Measurement:
    """Simulate a network. Raises SimulationError where anything differs from golden."""
    bundle, point = source.load()
    pixels = input_image(bundle, data, 0)
    simulated = simulate(bundle, config, pixels, (DENSE, point), report, end=MEMORY_END)
    off, on = simulated.checks
    idle: list[core.LayerCheck] | None = None
    if idle_lanes:
        apart = replace(config, name=f"{config.name}_idle", compact=False)
        (idle,) = simulate(bundle, apart, pixels, (point,), report, end=MEMORY_END).checks
    for check in (*off, *on, *(idle or [])):
        if check.mismatch is not None:
            raise SimulationError(f"{name} on {config.name}: {check.mismatch}")
    return Measurement(
        network=name,
        trained=source.is_trained,
        point=point,
        config=config,
        layers=layers(bundle, point, pixels, simulated.program, off, on, idle),
    )


def kept_shares(bundle: Bundle, point: str, pixels: torch.Tensor) -> dict[str, np.ndarray]:
    """Of each layer with a predictor, the share of `I_t` that golden keeps in each channel.

    `pixels`: a quantised image, (channels, height, width).
    """
    network, predictors = bundle.at(point)
    shares = {}
    for step in Network(network, predictors).steps(pixels[None]):
        if step.predictor is not None and step.result is not None:
            predicted = max(int((~step.result.computed).sum()), 1)
            shares[step.node.name] = (_kept(step.result) / predicted).numpy()
    return shares


def _kept(result: ConvResult) -> torch.Tensor:
    """Of each channel of one image, how many activations of `I_t` are computed."""
    return (result.keep[0] & ~result.computed).sum((1, 2))


def simulate(
    bundle: Bundle,
    config: Config,
    pixels: torch.Tensor,
    points: Sequence[str],
    report: Reporter,
    *,
    sim: Simulator = "verilator",
    end: int = 0,
) -> core.Simulated:
    """Run a network at some operating points on a quantised image, (channels, height, width)."""
    program = compile_bundle(bundle, config, keep=True)
    runs = [
        Run(program=program, image=pixels.numpy(), point=point, latency=LATENCY) for point in points
    ]
    return core.simulate(bundle, runs, sim, report, end=end)


def layers(
    bundle: Bundle,
    point: str,
    pixels: torch.Tensor,
    program: Program,
    off: list[core.LayerCheck],
    on: list[core.LayerCheck],
    idle: list[core.LayerCheck] | None = None,
) -> list[Layer]:
    """What the runs of a program on one image, a quantised one, counted for each layer."""
    network, predictors = bundle.at(point)
    steps = {step.node.name: step for step in Network(network, predictors).steps(pixels[None])}
    found = []
    for number, layer in enumerate(program.layers):
        step = steps[layer.name]
        kernel, stride, padding, kept = (1, 1), (1, 1), (0, 0), []
        convolution = isinstance(step.node, ConvNode)
        if isinstance(step.node, ConvNode):
            conv = network.conv(step.node)
            kernel, stride, padding = conv.kernel, conv.stride, conv.padding
            convolution = not step.node.fully_connected
            if step.predictor is not None and step.result is not None:
                kept = _kept(step.result).tolist()
        channels, height, width = step.ifm.shape[1:]
        whole = step.ofm if isinstance(step.node, ConvNode) else step.ifm
        ofm_channels, ofm_height, ofm_width = whole.shape[1:]
        found.append(
            Layer(
                name=layer.name,
                convolution=convolution,
                macs=layer.macs,
                ifm=(channels, height + 2 * padding[0], width + 2 * padding[1]),
                kernel=kernel,
                stride=stride,
                ofm=(ofm_channels, ofm_height, ofm_width),
                kept=kept,
                off=off[number].counters,
                on=on[number].counters,
                idle={} if idle is None else idle[number].counters,
            )
        )
    return found


def save(measurement: Measurement, folder: Path) -> Path:
    """Write a measurement; returns its file."""
    file = folder / f"{measurement.network}-{measurement.config.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    document = {"version": _VERSION, **asdict(measurement)}
    file.write_text(json.dumps(document) + "\n")
    return file


def load(file: Path) -> Measurement:
    """Read what `save` wrote."""
    document = json.loads(file.read_text())
    if document.pop("version", None) != _VERSION:
        raise UserError(f"{file}: of another version; remove it and run make bench again")
    config = Config(**document.pop("config"))
    shapes = ("ifm", "kernel", "stride", "ofm")
    layers = [
        Layer(**{**layer, **{name: tuple(layer[name]) for name in shapes}})
        for layer in document.pop("layers")
    ]
    return Measurement(config=config, layers=layers, **document)
