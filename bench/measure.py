"""Measures a network on the simulated core: every counter of every layer, without ZAP and with it.

One image is run without ZAP, at an operating point and, if asked for, at the same operating point
on a core that does not compact (`Config.compact`). The counts are kept in a JSON file, so that
tables and charts need no simulator. Every ofm is compared with golden: there are no figures of a
wrong run.
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
from compiler.costs import LATENCY
from compiler.program import DENSE, Program
from compiler.rewriting.rewrites import as_the_core_runs_it
from golden.bundle import Bundle
from golden.errors import UserError
from golden.files import write_file
from golden.layers import ConvResult
from golden.manifest import ConvNode
from golden.network import Network
from golden.padding import NO_PADDING
from golden.reading import read_json
from hw.contract.config import Config
from quant.runtime.progress import Reporter
from tb.exchange.core_files import Run
from tb.runs import core
from tb.runs.whole_networks import MEMORY_END, WholeNetwork
from tb.simulators.errors import SimulationError
from tb.simulators.toolchain import Simulator

__all__ = [
    "MeasuredLayer",
    "Measurement",
    "kept_shares",
    "load_measurement",
    "measure",
    "measured_layers",
    "measurement_file",
    "save_measurement",
    "simulate",
]

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class MeasuredLayer:
    """A layer of a network and the counts of its runs.

    Parameters
    ----------
    name : str
    convolution : bool
        True unless it is fully connected or a pooling alone. Figures of the network are of these.
    macs : int
        As in `bench.figures.LayerRun`.
    ifm, kernel, stride : shapes
        (channels, height, width) with padding, (height, width), (height, width).
    ofm : (channels, height, width)
        Before any pooling.
    kept : list of int
        For each channel, the activations of `I_t` that were computed with ZAP; empty without ZAP.
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
        """The same for `bench.figures`."""
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
    """A network that was measured on a configuration."""

    network: str
    trained: bool
    point: str
    config: Config
    layers: list[MeasuredLayer]


def measure(
    name: str,
    source: WholeNetwork,
    config: Config,
    pixels: torch.Tensor,
    report: Reporter,
    *,
    idle_lanes: bool,
) -> Measurement:
    """Simulate a network on a quantised image, (channels, height, width).

    Raises SimulationError where anything differs from golden.
    """
    bundle, point = source.load()
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
        layers=measured_layers(bundle, point, pixels, simulated.program, off, on, idle),
    )


def kept_shares(bundle: Bundle, point: str, pixels: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the share of `I_t` that golden keeps in each channel of each layer with a predictor.

    `pixels` is a quantised image, (channels, height, width).
    """
    network, predictors = bundle.at(point)
    shares = {}
    for step in Network(network, predictors).steps(pixels[None]):
        if step.predictor is not None and step.result is not None:
            predicted = max(int((~step.result.computed).sum()), 1)
            shares[step.node.name] = (_kept(step.result) / predicted).numpy()
    return shares


def _kept(result: ConvResult) -> torch.Tensor:
    """Count the activations of `I_t` that are computed in each channel of one image."""
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
    """Run a network at each of these operating points on a quantised image."""
    program = compile_bundle(bundle, config, keep=True)
    runs = [
        Run(program=program, image=pixels.numpy(), point=point, latency=LATENCY) for point in points
    ]
    return core.simulate(bundle, runs, sim, report, end=end, long_runs=True)


def measured_layers(
    bundle: Bundle,
    point: str,
    pixels: torch.Tensor,
    program: Program,
    off: list[core.LayerCheck],
    on: list[core.LayerCheck],
    idle: list[core.LayerCheck] | None = None,
) -> list[MeasuredLayer]:
    """Describe each layer of a program with the counts of its runs on one quantised image."""
    network, predictors = as_the_core_runs_it(bundle, program.config).at(point)
    steps = {step.node.name: step for step in Network(network, predictors).steps(pixels[None])}
    found = []
    for number, layer in enumerate(program.layers):
        step = steps[layer.name]
        kernel, stride, padding, kept = (1, 1), (1, 1), NO_PADDING, []
        convolution = isinstance(step.node, ConvNode)
        if isinstance(step.node, ConvNode):
            conv = network.conv(step.node)
            kernel, stride, padding = conv.kernel, conv.stride, conv.padding
            convolution = not step.node.fully_connected
            if step.predictor is not None and step.result is not None:
                kept = _kept(step.result).tolist()
        channels, height, width = step.ifm.shape[1:]
        top, bottom, left, right = padding
        whole = step.ofm if isinstance(step.node, ConvNode) else step.ifm
        ofm_channels, ofm_height, ofm_width = whole.shape[1:]
        found.append(
            MeasuredLayer(
                name=layer.name,
                convolution=convolution,
                macs=layer.macs,
                ifm=(channels, height + top + bottom, width + left + right),
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


def measurement_file(folder: Path, network: str, config: Config) -> Path:
    """Return the file of a network's measurement on a configuration."""
    return folder / f"{network}-{config.name}.json"


def save_measurement(measurement: Measurement, folder: Path) -> Path:
    """Write a measurement into a folder; return its file."""
    document = {"version": _VERSION, **asdict(measurement)}
    file = measurement_file(folder, measurement.network, measurement.config)
    return write_file(file, json.dumps(document) + "\n")


def load_measurement(file: Path) -> Measurement:
    """Read a measurement. Raises UserError where another version of the project wrote it."""
    document = read_json(file)
    if document.pop("version", None) != _VERSION:
        raise UserError(f"{file}: of another version; remove it and run make bench again")
    config = Config(**document.pop("config"))
    shapes = ("ifm", "kernel", "stride", "ofm")
    layers = [
        MeasuredLayer(**{**layer, **{name: tuple(layer[name]) for name in shapes}})
        for layer in document.pop("layers")
    ]
    return Measurement(config=config, layers=layers, **document)
