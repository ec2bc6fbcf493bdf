"""Runs layers on the simulated Verilog of the engine and compares them with golden."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from torch import Tensor

from compiler.layer_lowering import Lowered, lower
from golden.errors import UserError
from golden.layers import Conv, ConvResult, Counters, Pool, Predictor, conv, pool
from hw import verilog_output
from hw.contract.config import Config
from hw.layouts.descriptor import COUNTERS, CounterBlock
from tb.runs.engine_files import Job, Outcome, read_outcomes, write_jobs
from tb.runs.progress import watching
from tb.simulators import simulator
from tb.simulators.simulator import Simulator

__all__ = ["LINT", "VERILOG", "Check", "Layer", "build", "check", "difference", "run"]

LINT = Path(verilog_output.__file__).with_name("lint.vlt")
VERILOG = simulator.ROOT / "build" / "verilog"


@dataclass(frozen=True)
class Layer:
    """A convolution on one image, ready to be run and to be compared.

    `ifm`: int32 (c_i, height, width). `expected` is golden's result for a batch of this one image.
    """

    conv: Conv
    ifm: Tensor
    predictor: Predictor | None
    lowered: Lowered
    expected: ConvResult
    residual: Tensor | None = None
    pool: Pool | None = None
    pauses: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def prepare(
        cls,
        config: Config,
        layer: Conv,
        ifm: Tensor,
        *,
        ifm_signed: bool,
        residual: Tensor | None = None,
        residual_signed: bool = False,
        predictor: Predictor | None = None,
        pool: Pool | None = None,
        pauses: tuple[float, float] = (0.0, 0.0),
    ) -> Layer:
        """Lower the layer and run golden. Raises UserError where it is no single tile."""
        channels, height, width = ifm.shape
        shape = (channels, height, width)
        lowered = lower(
            config,
            layer,
            shape,
            ifm_signed=ifm_signed,
            residual_signed=residual_signed,
            predictor=predictor,
            pool=pool,
        )
        if len(lowered.tiles) > 1:
            raise UserError(
                f"layer {layer.name!r} takes {len(lowered.tiles)} strips in configuration "
                f"{config.name!r}, and only the whole core runs those: use make sim-core"
            )
        batch = None if residual is None else residual[None]
        expected = conv(layer, ifm[None], predictor, batch)
        return cls(layer, ifm, predictor, lowered, expected, residual, pool, pauses)

    @property
    def output(self) -> Tensor:
        """What must leave the engine, int32 (c_o, height, width): golden's ofm, pooled if it is."""
        ofm = self.expected.ofm
        return (ofm if self.pool is None else pool(self.pool, ofm))[0]

    @property
    def job(self) -> Job:
        """What the bench is told."""
        group = self.lowered.config.group
        groups = -(-self.lowered.fields["channels"] // group)
        residuals = np.empty((0, group), np.uint8)
        if self.residual is not None:
            residuals = self.lowered.pack_residual(self.residual)
        return Job(
            descriptor=self.lowered.descriptor,
            ifm=self.lowered.pack_ifm(self.ifm),
            records=self.lowered.records,
            residuals=residuals,
            ofm_words=groups * prod(self.lowered.pooled_size),
            pauses=self.pauses,
        )


@dataclass(frozen=True)
class Check:
    """One layer compared.

    `differ` counts activations that differ from golden; `mismatch` names the first, or the first
    counter that differs, and is None where all agree.
    """

    layer: Layer
    counters: dict[str, int]
    compared: int
    differ: int
    mismatch: str | None


def build(config: Config, sim: Simulator, *, waves: bool = False) -> simulator.Build:
    """The engine's Verilog, emitted and built unless that was done before."""
    source = verilog_output.write_engine(config, VERILOG)
    return simulator.build(sim, [source, LINT], verilog_output.engine_name(config), waves=waves)


def run(
    built: simulator.Build,
    layers: Sequence[Layer],
    *,
    seed: int = 1,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[Check]:
    """Run layers one after another in one simulation and compare each.

    `on_progress` is called now and then with the number of layers done. Raises SimulationError
    where the bench itself fails: the engine hangs, or moves another number of words than it should.
    """
    with tempfile.TemporaryDirectory(prefix="zapcore-") as scratch:
        folder = Path(scratch)
        jobs, outcomes, progress = folder / "jobs.npz", folder / "outcomes.npz", folder / "progress"
        write_jobs(jobs, [layer.job for layer in layers])
        values = {
            "jobs": str(jobs),
            "outcomes": str(outcomes),
            "progress": str(progress),
            "seed": seed,
        }

        def done() -> int:
            return progress.stat().st_size if progress.exists() else 0

        with watching(done, on_progress):
            run_dir = built.directory / "run" if built.waves else folder / "run"
            results = simulator.run(
                built, "tb.benches.engine", values=values, seed=seed, run_dir=run_dir
            )
        if results.failures:
            name = layers[min(done(), len(layers) - 1)].conv.name
            raise simulator.SimulationError(
                f"{built.sim}: layer {name!r} (number {done()}): {results.failures[0].message}"
            )
        return [
            check(layer, outcome)
            for layer, outcome in zip(layers, read_outcomes(outcomes), strict=True)
        ]


def check(layer: Layer, outcome: Outcome) -> Check:
    """Compare an outcome with golden, bit for bit."""
    expected = layer.output.numpy()
    actual = layer.lowered.unpack_ofm(outcome.ofm)
    counters = {
        name: int(value)
        for name, value in ((n, CounterBlock().from_bits(outcome.counters)[n]) for n in COUNTERS)
    }
    different, mismatch = difference(
        layer.conv.name, actual, expected, counters, layer.expected.counters
    )
    return Check(layer, counters, expected.size, different, mismatch)


def difference(
    name: str,
    actual: np.ndarray,
    expected: np.ndarray,
    counters: Mapping[str, int],
    golden: Counters,
) -> tuple[int, str | None]:
    """How many activations of an ofm differ, and the first difference in words, if there is one.

    Without a difference in the ofm the counters that golden knows are compared.
    """
    different = np.argwhere(actual != expected)
    if len(different):
        channel, row, col = (int(i) for i in different[0])
        return len(different), (
            f"layer {name!r}, channel {channel}, pixel ({row}, {col}): "
            f"hardware {actual[channel, row, col]}, golden {expected[channel, row, col]}"
        )
    for counter in ("computed", "kept", "skipped"):
        wanted = getattr(golden, counter)
        if counters[counter] != wanted:
            return 0, (
                f"layer {name!r}, counter {counter}: hardware {counters[counter]}, golden {wanted}"
            )
    return 0, None
