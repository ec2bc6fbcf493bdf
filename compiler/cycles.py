"""A model of how many cycles the core takes for a program.

The compiler chooses with it how layers are cut, and users compare configurations. It reads what the
core reads, the words of the tiles' descriptors. It works channel by channel with what bounds each:
the array, the walk over the pattern, the predictor, the loads of records and residual, the stores.
Waits between these are a few constants, each with its reason. `tests/compiler/test_cycles.py`
compares the model with cycles that were counted in simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compiler.program import DENSE, Program
from golden.arithmetic import ceil_div
from hw.contract.bus import BURST
from hw.contract.config import Config
from hw.contract.counters import STORED_BYTES
from hw.contract.program import DESCRIPTOR_BYTES, RESIDUE_BITS
from hw.contract.records import record_words
from hw.contract.timing import (
    PREDICTOR_LATENCY,
    READ_QUEUE,
    REQUANTISER_LATENCY,
    SCHEDULER_LATENCY,
    VALUE_QUEUE,
    array_latency,
    predictor_steps,
)

__all__ = ["Cycles", "Kept", "TileCycles", "layer_cycles", "passes", "tile_cycles"]

Kept = float | np.ndarray
"""The share of the activations of `I_t` that is computed: one number, or one for each channel."""

_BURSTS = 16
"""Read bursts that the memory is assumed to work on at a time."""
_START = 12
"""Cycles from a tile's start to its first request, and from its last placement to a first task."""
_BETWEEN = STORED_BYTES // 2 + 6
"""Cycles from the end of a tile to the start of the next, in which its counters are stored."""
_SLICE = 10
"""Cycles from a slice's last write to the next slice's first request."""
_WORDS = DESCRIPTOR_BYTES // 4
"""Cycles in which a descriptor's words arrive, one a cycle."""


@dataclass(frozen=True)
class Cycles:
    """Cycles of one tile or several.

    Parameters
    ----------
    load : float
        Cycles until the ifm is in the buffer and the core is ready for the tile; the array rests.
    compute : float
        Cycles from then until the last activation is in its bank.
    store : float
        Cycles from then until the last group has left and the memory has answered.
    busy : float
        Those of `compute` in which the array multiplies.
    """

    load: float
    compute: float
    store: float
    busy: float

    @property
    def elapsed(self) -> float:
        """The core's counter of that name: load, compute and store together."""
        return self.load + self.compute + self.store

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(
            self.load + other.load,
            self.compute + other.compute,
            self.store + other.store,
            self.busy + other.busy,
        )

    def __truediv__(self, parts: int) -> Cycles:
        return Cycles(
            self.load / parts, self.compute / parts, self.store / parts, self.busy / parts
        )


@dataclass(frozen=True)
class TileCycles(Cycles):
    """Cycles of one tile from its start, as if no other were in work.

    Parameters
    ----------
    beside : float or None
        Cycles from the start of the tile before until this tile's ifm is in the buffer, if it is
        loaded while that tile is in work; None where it may not be. Where the ifm comes in slices,
        cycles from the last slice of the tile before to the first slice of this one.
    fetch : float
        Cycles for reading its descriptor from memory.
    clear : float
        Cycles from the tile's end until its banks are clear.
    last_slice : float
        Those of `compute` after its ifm's last slice is in the buffer, where it comes in slices.
    """

    beside: float | None
    fetch: float
    clear: float
    last_slice: float = 0.0

    def behind(self, before: TileCycles | None) -> Cycles:
        """Cycles that it adds to those of the tile before, or to a program's start."""
        if before is None:
            load = self.load + 2 * self.fetch
        elif self.beside is None:
            load = max(self.load, before.clear - _BETWEEN)
        else:
            meanwhile = before.last_slice or before.compute
            load = max(
                _START,
                before.clear - _BETWEEN,
                self.beside - meanwhile - before.store - _BETWEEN,
            )
        return Cycles(_BETWEEN + load, self.compute, self.store, self.busy)


def layer_cycles(
    program: Program, point: str = DENSE, kept: Mapping[str, Kept] | None = None, latency: int = 40
) -> dict[str, Cycles]:
    """Cycles of each layer at an operating point, those of its tiles added up.

    `kept` names layers with a predictor; a layer that it does not name keeps everything. `latency`
    is the memory's, in cycles.
    """
    totals = {layer.name: Cycles(0, 0, 0, 0) for layer in program.layers}
    before = None
    for words in program.descriptors(point):
        name = program.layers[words["layer"]].name
        cycles = tile_cycles(program.config, words, (kept or {}).get(name, 1.0), latency)
        totals[name] += cycles.behind(before)
        before = cycles
    return totals


def tile_cycles(
    config: Config, words: dict[str, int], kept: Kept = 1.0, latency: int = 40
) -> TileCycles:
    """Cycles of one tile from its descriptor's words.

    Parameters
    ----------
    kept : number, or one for each channel
        Share of the activations of `I_t` that is computed.
    latency : int
        The memory's, in cycles.
    """
    beats = _Beats.of(config, words)
    # Records and residual are taken when the engine starts; before that, their queues fill.
    early = min(words["channels"] * beats.record, READ_QUEUE), min(beats.residual, READ_QUEUE)
    placements, own, others = _load(config, words, early, min(beats.record / 2, BURST), latency)
    load = latency + max(placements, own + others)

    channel, array, flush = _channels(config, words, beats, kept)
    # A group of G channels leaves while the array computes the next; the last one is waited for.
    leaves, clears = _leaving(config, words)
    groups = np.add.reduceat(channel, np.arange(0, len(channel), config.group))
    groups = np.maximum(groups, leaves + clears)
    # Nothing begins before the first records are there and the scheduler has its distances.
    start = max(beats.record, beats.group, SCHEDULER_LATENCY)
    store = leaves + latency + _START
    fetch = _START + latency + _WORDS
    # A write waits for one of two banks of each pair of PEs; records are read first.
    conflicts = words["ifm_row_words"] * _rows(words) * passes(words) << ceil_div(config.pes, 2)
    compute = float(groups.sum()) + flush + _pipeline(config) + start
    left = max(1 - beats.of_channels(config, words).sum() / compute, 0.1)
    meanwhile = latency + max(placements, conflicts, own / left)
    beside, last_slice = fetch + meanwhile, 0.0
    if words["slice_step"]:
        load = max(latency + max(placements, own) - start, 0)
        slice_load = latency + max(placements, conflicts, own) + _SLICE
        # Its beats share the port with the records of the channels that read it.
        beats_of_slice = own + words["slice_channels"] * beats.record
        waits, last_slice = _in_slices(config, words, groups, max(slice_load, beats_of_slice))
        compute += waits
        beside -= start
    return TileCycles(
        load=load + _START,
        compute=compute,
        store=store,
        busy=float(array.sum()),
        beside=beside if words["early"] else None,
        fetch=fetch,
        clear=max(clears - latency, 0),
        last_slice=last_slice,
    )


def _in_slices(
    config: Config, words: dict[str, int], groups: np.ndarray, load: float
) -> tuple[float, float]:
    """Cycles in which groups of G channels wait for slices of the ifm, of `load` cycles each.

    The next slice is loaded while the array works on one, if the buffer has room for two; otherwise
    after that. Returns also the cycles of the last slice.
    """
    in_slice = ceil_div(words["slice_channels"], config.group)
    slices = np.add.reduceat(groups, np.arange(0, len(groups), in_slice))
    if words["ifm_slots"] == 1:
        waits = (len(slices) - 1) * (load + _pipeline(config))
    else:
        waits = np.maximum(load - slices[:-1], 0).sum()
    return float(waits), float(slices[-1])


def _pipeline(config: Config) -> int:
    """Cycles from a task's last word to its activations in the bank."""
    return array_latency(config) + REQUANTISER_LATENCY


@dataclass(frozen=True)
class _Beats:
    """Beats that the engine takes while it computes a tile.

    Parameters
    ----------
    record : int
        Of a channel's record and weights.
    residual : int
        Of a group of channels' residual.
    group : int
        Of a group of channels' residual and restored rows.
    """

    record: int
    residual: int
    group: int

    @classmethod
    def of(cls, config: Config, words: dict[str, int]) -> _Beats:
        """The beats of a tile."""
        beats_a_word, beats_a_pixel = (n // config.bus_bytes for n in (config.lanes, config.group))
        columns = (words["width"] - 1) * words["residual_stride"] + 1
        residual = words["residual"] * words["height"] * beats_a_pixel * columns
        return cls(
            record=(record_words(config) + words["kernel_words"]) * beats_a_word,
            residual=residual,
            group=residual + words["restored"] * beats_a_pixel,
        )

    def of_channels(self, config: Config, words: dict[str, int]) -> np.ndarray:
        """Beats that come while each channel is computed; the first ones are there before."""
        beats = np.full(words["channels"], self.record + self.group / config.group)
        beats[: config.group] -= self.group / config.group
        beats[0] -= self.record
        return beats


def _channels(
    config: Config, words: dict[str, int], beats: _Beats, kept: Kept
) -> tuple[np.ndarray, np.ndarray, float]:
    """Cycles of each channel, those in which the array multiplies, and cycles after the last one.

    A channel takes as long as the part of the engine that takes longest for it.
    """
    channels, width = words["channels"], words["width"]
    computed, predicted = _positions(words)
    survivors = np.broadcast_to(np.round(kept * predicted), channels) if words["zap"] else 0
    task = max(words["kernel_words"], min(config.pes, computed))
    first_pass = ceil_div(computed, config.pes) * task
    second_pass = ceil_div(survivors, config.pes) * task
    array = first_pass + second_pass + np.zeros(channels)
    rows = words["height"] - words["first_row"]
    walk = computed + (rows / 2 if words["zap"] else 0) + 1
    smooth = _smoothed(array, computed) if words["zap"] else array
    pipeline = _pipeline(config)
    needs = [smooth, walk, beats.of_channels(config, words), (smooth + pipeline) / 2]
    flush = 0.0
    if words["zap"]:
        positions = _prediction(config, words, kept) + PREDICTOR_LATENCY
        flush = 2 * predictor_steps(config, width) + PREDICTOR_LATENCY + pipeline
        late = second_pass * min(2 / max(rows, 1), 1)
        meanwhile = min(VALUE_QUEUE, computed) / config.pes * task
        needs += [positions, smooth + np.maximum(flush - late - meanwhile, 0)]
        flush = max(flush - float(np.broadcast_to(late, channels)[-1]), 0)
    channel = np.maximum.reduce([np.broadcast_to(need, channels) for need in needs])
    return channel, array, flush


def _smoothed(array: np.ndarray, computed: int) -> np.ndarray:
    """The array's cycles for each channel, evened out between neighbours.

    Activations wait in a queue before the predictor, so the array goes on with the next channel
    while the predictor is behind. The longer the queue, the more two neighbours even out.
    """
    share = min(VALUE_QUEUE / max(computed, 1), 1) / 2
    following = np.append(array[1:], array[-1])
    return (1 - share) * array + share * following


def _prediction(config: Config, words: dict[str, int], kept: Kept) -> Kept:
    """Cycles in which the predictor goes through a channel's positions; one, or one a channel.

    A step takes a cycle. Where it has several survivors, they leave one a cycle; activations come
    one a cycle, and those of a row are evened out among its steps.
    """
    steps = predictor_steps(config, words["width"])
    positions = config.predictor_positions
    if positions == 1:
        return (words["scored_end"] + 2) * steps
    computed = _computed(words)
    needed = computed.copy()
    needed[: words["first_row"]] = True
    needed = needed[: words["scored_end"] + 2].sum(axis=1)
    # Decisions lag two rows and two columns; n of a step, each kept with a chance of `kept`, take
    # a cycle each, and one if none is kept.
    decided = ~computed[words["scored_row"] : words["scored_end"]]
    decided = np.pad(decided, ((0, 0), (2, steps * positions - words["width"] - 2)))
    of_step = decided.reshape(len(decided), steps, positions).sum(axis=2)
    share = np.asarray(kept)[..., None]
    amounts = np.arange(positions + 1)
    leaving = amounts * share + (1 - share) ** amounts
    rows = np.full((*share.shape[:-1], words["scored_end"] + 2), float(steps))
    for row, found in enumerate(of_step, words["scored_row"] + 2):
        rows[..., row] = leaving[..., found].sum(axis=-1)
    rows[..., : len(needed)] = np.maximum(rows[..., : len(needed)], needed)
    return rows.sum(axis=-1)


def _computed(words: dict[str, int]) -> np.ndarray:
    """`I_s` of a tile's region: bool (height, width)."""
    period = words["period"]
    bits = np.array([words["pattern"] >> bit & 1 for bit in range(period)], bool)
    rows, cols = np.ogrid[: words["height"], : words["width"]]
    return bits[((words["residues"] >> RESIDUE_BITS) * rows + cols) % period]


def _positions(words: dict[str, int]) -> tuple[int, int]:
    """One channel's activations in a tile: those of `I_s`, and those of `I_t` decided in it."""
    computed = _computed(words)
    scored = computed[words["scored_row"] : words["scored_end"]]
    return int(computed[words["first_row"] :].sum()), int((~scored).sum())


def _load(
    config: Config, words: dict[str, int], early: tuple[int, int], burst: float, latency: int
) -> tuple[float, float, float]:
    """Cycles of the ifm's load: for its placements, for its own beats, and for beats of others.

    The others are `early` beats of records, in bursts of `burst`, and of the residual. Bursts take
    turns, so before the ifm's last burst no more of each come than the ifm has itself.
    """
    parts = config.group // config.bus_bytes
    planes = ceil_div(words["ifm_channels"], config.group)
    cols = words["pad_left"] + words["ifm_width"] + words["pad_right"]
    placements = _rows(words) * passes(words) * planes * parts * cols
    row_beats = words["ifm_width"] * parts
    requests = words["ifm_height"] * passes(words) * planes
    bursts = ceil_div(row_beats, BURST)
    beats = requests * max(row_beats, bursts * (latency + 6) / _BURSTS, 2)
    records, residual = early
    others = min(records, requests * bursts * burst) + min(residual, requests * bursts * BURST)
    return placements, beats, others


def passes(words: Mapping[str, int]) -> int:
    """Return the number of times that each row of the ifm is loaded."""
    return 1 if words["pack_apart"] else words["pack_height"]


def _rows(words: dict[str, int]) -> int:
    """Rows that are loaded, with their padding."""
    return words["pad_top"] + words["ifm_height"] + words["pad_bottom"]


def _leaving(config: Config, words: dict[str, int]) -> tuple[float, float]:
    """Cycles in which a group of channels leaves its bank, and in which that is then cleared."""
    windows = words["pool.height"] * words["pool.width"]
    taps = windows * words["pool.kernel_height"] * words["pool.kernel_width"]
    if words["pool.average"]:
        taps += windows * (config.group + 6)
    shared = words["restored"] + words["spilled"]
    beats = (words["ofm_words"] + words["spilled"]) * config.group // config.bus_bytes
    clear = words["pixels"] if words["pool.pooled"] or shared else 0
    return max(taps + words["spilled"], beats), clear
