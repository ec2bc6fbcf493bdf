"""Runs layers on the simulated Verilog of the engine and compares them with golden."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from torch import Tensor

from compiler.lowering.layer_lowering import LoweredLayer, lower_layer
from golden.arithmetic import ceil_div
from golden.errors import UserError
from golden.layers import Conv, ConvResult, Counters, Pool, Predictor, conv, pool
from hw import verilog_output
from hw.contract.config import Config
from hw.contract.counters import ENGINE_COUNTERS
from hw.layouts.descriptor import CounterBlock, LayerDescriptor
from hw.lib.structs import struct_bits, struct_from_bits
from quant.runtime.progress import Reporter, reporting
from tb.exchange.engine_files import Outcome, Stimulus, read_outcomes, write_stimuli
from tb.paths import VERILOG
from tb.runs.watch import watching
from tb.simulators.build import Build, build_design
from tb.simulators.errors import SimulationError
from tb.simulators.process import runner_threads
from tb.simulators.run import run_bench
from tb.simulators.toolchain import Simulator

__all__ = [
    "LINT",
    "Check",
    "EngineLayer",
    "build",
    "check",
    "difference",
    "require_agreement",
    "run",
    "run_batches",
    "run_on_each",
]

LINT = Path(verilog_output.__file__).with_name("lint.vlt")

_BATCH = 10
"""Layers of one simulation in `run_batches`."""


@dataclass(frozen=True)
class EngineLayer:
    """A convolution on one image, ready to be run on the engine and compared.

    `ifm` is int32 (c_i, height, width). `expected` is golden's result for a batch of this image.
    `pauses` are those of `tb.exchange.engine_files.Stimulus`.
    """

    conv: Conv
    ifm: Tensor
    predictor: Predictor | None
    lowered: LoweredLayer
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
    ) -> EngineLayer:
        """Lower the layer and run golden. Raises UserError if it takes more than one tile."""
        channels, height, width = ifm.shape
        shape = (channels, height, width)
        lowered = lower_layer(
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
        """The expected output of the engine, pooled if the layer is: int32 (c_o, height, width)."""
        ofm = self.expected.ofm
        return (ofm if self.pool is None else pool(self.pool, ofm))[0]

    @property
    def stimulus(self) -> Stimulus:
        """Everything that the bench sends into the engine."""
        group = self.lowered.config.group
        groups = ceil_div(self.lowered.fields["channels"], group)
        layout = LayerDescriptor(self.lowered.config)
        residuals = np.empty((0, group), np.uint8)
        if self.residual is not None:
            residuals = self.lowered.pack_residual(self.residual)
        return Stimulus(
            descriptor=struct_bits(layout, self.lowered.fields),
            ifm=self.lowered.pack_ifm(self.ifm),
            slots=self.lowered.slots,
            records=self.lowered.records,
            residuals=residuals,
            ofm_words=groups * prod(self.lowered.pooled_size),
            pauses=self.pauses,
        )


@dataclass(frozen=True)
class Check:
    """A layer that was compared with golden.

    `compared` activations were compared, of which `differ` differ. `mismatch` describes the first
    that differs, or the first counter that does; it is None where all agree.
    """

    layer: EngineLayer
    counters: dict[str, int]
    compared: int
    differ: int
    mismatch: str | None


def build(config: Config, sim: Simulator, *, waves: bool = False) -> Build:
    """Emit the engine's Verilog and build it, unless that was done before."""
    source = verilog_output.write_engine(config, VERILOG)
    return build_design(sim, [source, LINT], verilog_output.engine_name(config), waves=waves)


def run(
    built: Build,
    layers: Sequence[EngineLayer],
    *,
    seed: int = 1,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[Check]:
    """Run layers one after another in one simulation and compare each.

    `on_progress` is called now and then with the number of layers done. Raises SimulationError
    where the bench itself fails: the engine hangs, or moves more or fewer words than it should.
    """
    with tempfile.TemporaryDirectory(prefix="zapcore-") as scratch:
        folder = Path(scratch)
        stimuli, outcomes, progress = (
            folder / "stimuli.npz",
            folder / "outcomes.npz",
            folder / "progress",
        )
        write_stimuli(stimuli, [layer.stimulus for layer in layers])
        values = {
            "stimuli": str(stimuli),
            "outcomes": str(outcomes),
            "progress": str(progress),
            "seed": seed,
        }

        def done() -> int:
            return progress.stat().st_size if progress.exists() else 0

        with watching(done, on_progress):
            run_dir = built.directory / "run" if built.waves else folder / "run"
            results = run_bench(
                built, "tb.benches.engine", values=values, seed=seed, run_dir=run_dir
            )
        if results.failures:
            name = layers[min(done(), len(layers) - 1)].conv.name
            raise SimulationError(
                f"{built.sim}: layer {name!r} (number {done()}): {results.failures[0].message}"
            )
        return [
            check(layer, outcome)
            for layer, outcome in zip(layers, read_outcomes(outcomes), strict=True)
        ]


def run_on_each(
    config: Config,
    sims: Sequence[Simulator],
    layers: Sequence[EngineLayer],
    report: Reporter,
    *,
    waves: bool = False,
    seed: int = 1,
) -> dict[Simulator, list[Check]]:
    """Run `layers` on each simulator, all at the same time."""

    def one(sim: Simulator) -> list[Check]:
        report(f"{sim}: build", 0, 1)
        built = build(config, sim, waves=waves)
        report(f"{sim}: build", 1, 1)
        return run(
            built,
            layers,
            seed=seed,
            on_progress=lambda done: report(f"{sim}: layers", done, len(layers)),
        )

    with runner_threads(len(sims)) as pool:
        return dict(zip(sims, pool.map(one, sims), strict=True))


def require_agreement(results: dict[Simulator, list[Check]]) -> None:
    """Raise SimulationError unless the simulators agree on every counter, cycles included."""
    reference, *others = results.items()
    for sim, checks in others:
        for ours, theirs in zip(reference[1], checks, strict=True):
            if ours.counters != theirs.counters:
                raise SimulationError(
                    f"layer {ours.layer.conv.name!r}: {reference[0]} counts {ours.counters}, "
                    f"{sim} {theirs.counters}"
                )


def run_batches(
    config: Config, sim: Simulator, layers: Sequence[EngineLayer], seed: int
) -> list[Check]:
    """Run layers in simulations of a few layers each, two simulations at a time."""
    batches = [layers[i : i + _BATCH] for i in range(0, len(layers), _BATCH)]
    done = [0] * len(batches)
    built = build(config, sim)
    with reporting() as report, runner_threads(2) as pool:

        def one(number: int) -> list[Check]:
            def progress(count: int) -> None:
                done[number] = count
                report(f"{sim}: random layers", sum(done), len(layers))

            return run(built, batches[number], seed=seed + number, on_progress=progress)

        return [check for checks in pool.map(one, range(len(batches))) for check in checks]


def check(layer: EngineLayer, outcome: Outcome) -> Check:
    """Compare an outcome with golden, bit for bit."""
    expected = layer.output.numpy()
    actual = layer.lowered.unpack_ofm(outcome.ofm)
    block = struct_from_bits(CounterBlock(), outcome.counters)
    counters = {name: int(block[name]) for name in ENGINE_COUNTERS}
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
    """Compare an ofm, or those of several images, and then the counters that golden has too.

    Returns how many activations differ, and the first difference in words or None.
    """
    different = np.argwhere(actual != expected)
    if len(different):
        at = tuple(different[0])
        *image, channel, row, col = (int(i) for i in at)
        of_image = "".join(f"image {number}, " for number in image)
        return len(different), (
            f"layer {name!r}, {of_image}channel {channel}, pixel ({row}, {col}): "
            f"hardware {actual[at]}, golden {expected[at]}"
        )
    for counter in ("computed", "kept", "skipped"):
        wanted = getattr(golden, counter)
        if counters[counter] != wanted:
            return 0, (
                f"layer {name!r}, counter {counter}: hardware {counters[counter]}, golden {wanted}"
            )
    return 0, None
