"""Designs: cores of some configuration, what they cost, and how fast a network is on them.

Cycles are those of the model in `compiler.cycles`, so thousands of configurations can be compared
without a simulation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from compiler.build import compile_bundle
from compiler.cycles import layer_cycles
from compiler.program import DENSE
from compiler.several_cores import forecast
from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.errors import UserError
from hw.contract.config import PRESETS, Config
from hw.contract.system import System
from hw.predictor.depthwise import ROWS, SQUARES, line_words

__all__ = [
    "Design",
    "block_rams",
    "evaluate",
    "executor",
    "keep_one_point",
    "pareto_front",
    "sized_config",
]

_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""(words, bits) that a block RAM can be configured to."""


@dataclass(frozen=True)
class Design:
    """One core or several of a configuration, their cost, and their speed on one network.

    Parameters
    ----------
    config : Config
        Of each core.
    cycles_off, cycles_on : int
        Cycles for each image without and with ZAP, while every core works on as many images as it
        runs at a time.
    multipliers : int
        Multipliers of the arrays of all cores.
    block_rams : int
        Block RAMs of all buffers.
    cores : int
        On one memory port as wide as those of all cores together, or as AXI allows.
    images : int
        That a core runs at a time.
    """

    config: Config
    cycles_off: int
    cycles_on: int
    multipliers: int
    block_rams: int
    cores: int = 1
    images: int = 1

    @property
    def name(self) -> str:
        """The configuration's name, with the cores and the images at a time where they are more."""
        cores = f" x {self.cores}" if self.cores > 1 else ""
        return self.config.name + cores + (f", {self.images} images" if self.images > 1 else "")

    def beats(self, other: Design) -> bool:
        """True if this design is worse in nothing and better in something."""
        mine, theirs = (
            (design.cycles_on, design.multipliers, design.block_rams) for design in (self, other)
        )
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def evaluate(
    bundle: Bundle,
    point: str,
    kept: Mapping[str, np.ndarray],
    config: Config,
    cores: int = 1,
    images: int = 1,
) -> Design | None:
    """Estimate a network on cores of a configuration; None where a layer does not fit it."""
    try:
        program = compile_bundle(bundle, config, images=images)
    except UserError:
        return None

    def cycles(point: str, kept: Mapping[str, np.ndarray]) -> int:
        if cores == 1:
            whole = sum(layer.elapsed for layer in layer_cycles(program, point, kept).values())
        else:
            layers = forecast(program, System(config=config, cores=cores), point, kept)
            whole = sum(layer.together for layer in layers)
        return round(whole / (cores * images))

    return Design(
        config=config,
        cycles_off=cycles(DENSE, {}),
        cycles_on=cycles(point, kept),
        multipliers=cores * config.multipliers,
        block_rams=cores * block_rams(config),
        cores=cores,
        images=images,
    )


def block_rams(config: Config) -> int:
    """Count the block RAMs of a configuration's buffers, from their widths and depths."""
    word, group = 8 * config.lanes, 8 * config.group
    copies = max(config.pes // 2, 1)
    memories = [(word, config.ifm_words // 2)] * 2 * copies + [(word, config.weight_words)]
    memories += [(group, config.ofm_words)] * 4
    if config.predictor:
        word = ROWS.size * config.predictor_positions
        memories += [(word, words) for words in line_words(config)]
        memories += [SQUARES] * config.predictor_tables
    return sum(_blocks(bits, words) for bits, words in memories)


def pareto_front(designs: Sequence[Design]) -> list[Design]:
    """Return the designs that no other beats, slowest first."""
    best = [d for d in designs if not any(other.beats(d) for other in designs)]
    return sorted(best, key=lambda design: (-design.cycles_on, design.multipliers))


def _blocks(bits: int, words: int) -> int:
    return min(ceil_div(words, depth) * ceil_div(bits, width) for depth, width in _SHAPES)


def keep_one_point(bundle: Bundle, point: str) -> Bundle:
    """Return the bundle with one operating point, because every point is compiled."""
    points = [p for p in bundle.manifest.operating_points if p.name == point]
    return Bundle(bundle.manifest.model_copy(update={"operating_points": points}), bundle.tensors)


def sized_config(
    lanes: int, pes: int, kib: int, ofm_words: int, bus_bits: int, positions: int = 1
) -> Config:
    """Return the default configuration with other sizes; `kib` is the ifm buffer's.

    The weight buffer keeps its size in bytes. With several positions a cycle, the predictor has as
    many times the DSP blocks, and no tables.
    """
    default = PRESETS["default"]
    return replace(
        default,
        name=f"v{lanes}p{pes}i{kib}o{ofm_words}b{bus_bits}"
        + (f"n{positions}" if positions > 1 else ""),
        pes=pes,
        lanes=lanes,
        group=max(default.group, bus_bits // 8),
        ifm_words=(kib << 10) // lanes,
        weight_words=default.weight_words * default.lanes // lanes,
        ofm_words=ofm_words,
        bus_bits=bus_bits,
        predictor_positions=positions,
        predictor_dsps=default.predictor_dsps * positions,
        predictor_tables=default.predictor_tables if positions == 1 else 0,
    )


@contextmanager
def executor(scheduler: str | None) -> Iterator[Executor]:
    """Yield an executor: processes of this machine, or the workers of a Dask cluster.

    Raises UserError where no scheduler answers at that address.
    """
    if scheduler is None:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            yield pool
        return
    from distributed import Client  # imported here: it takes a second, and few need it

    try:
        client = Client(scheduler, timeout="3s")
    except OSError as error:
        raise UserError(f"{scheduler}: no Dask scheduler answers: {error}") from None
    with client, client.get_executor() as workers:
        yield workers
