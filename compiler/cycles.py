"""How many cycles the core takes for a program: a model, for choosing configurations and layers.

It reads what the core reads, the words of the tiles' descriptors, and works channel by channel with
what bounds each: the array, the walk over the pattern, the predictor, the loads of records and
residual, the stores. What is waited for between these is in a few constants, each with its reason.
`python -m bench.model` compares it with counted cycles.
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
from hw.contract.program import DESCRIPTOR_BYTES, HEADER_BYTES, Word, descriptor_words, header_words
from hw.contract.records import record_words
from hw.contract.timing import (
    PREDICTOR_LATENCY,
    READ_QUEUE,
    REQUANTISER_LATENCY,
    SCHEDULER_LATENCY,
    VALUE_QUEUE,
    array_latency,
)

__all__ = ["Cycles", "Kept", "TileCycles", "layer_cycles", "tile_cycles", "tiles"]

Kept = float | np.ndarray
"""Of the activations of `I_t`, the share that is computed: one number, or one for each channel."""

_BURSTS = 16
"""Read bursts that a memory is taken to work on at a time."""
_START = 12
"""From a tile's start to its first request, and from its last placement to the first task."""
_BETWEEN = STORED_BYTES // 2 + 6
"""From the end of a tile to the start of the next: its counters are stored."""
_WORDS = DESCRIPTOR_BYTES // 4
"""A descriptor's words, one a cycle."""


@dataclass(frozen=True)
class Cycles:
    """Cycles of one tile or several, as the core's counters call them.

    Parameters
    ----------
    load : float
        Until the ifm is in the buffer, and the core ready for the tile; the array rests.
    compute : float
        From then until the last activation is in its bank.
    store : float
        Until the last group has left and the memory has answered.
    busy : float
        Of `compute`, those in which the array multiplies.
    """

    load: float
    compute: float
    store: float
    busy: float

    @property
    def elapsed(self) -> float:
        """All of them."""
        return self.load + self.compute + self.store

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(
            self.load + other.load,
            self.compute + other.compute,
            self.store + other.store,
            self.busy + other.busy,
        )


@dataclass(frozen=True)
class TileCycles(Cycles):
    """Cycles of one tile from its start, as if no other were in work.

    Parameters
    ----------
    beside : float or None
        How long after the tile before began the ifm is in the buffer, if it is loaded while that
        one is in work; None where it may not be.
    fetch : float
        What its descriptor takes from memory.
    clear : float
        From the tile's end until its banks are clear.
    """

    beside: float | None
    fetch: float
    clear: float

    def behind(self, before: TileCycles | None) -> Cycles:
        """What it adds to the tile before, or to a program's start."""
        if before is None:
            load = self.load + 2 * self.fetch
        elif self.beside is None:
            load = max(self.load, before.clear - _BETWEEN)
        else:
            load = max(
                _START,
                before.clear - _BETWEEN,
                self.beside - before.compute - before.store - _BETWEEN,
            )
        return Cycles(_BETWEEN + load, self.compute, self.store, self.busy)


def layer_cycles(
    program: Program, point: str = DENSE, kept: Mapping[str, Kept] | None = None, latency: int = 40
) -> dict[str, Cycles]:
    """Cycles of each layer at an operating point, its tiles taken together.

    `kept` has the layers with a predictor, everything is taken to be kept where it has none;
    `latency` is the memory's.
    """
    totals = {layer.name: Cycles(0, 0, 0, 0) for layer in program.layers}
    before = None
    for words in tiles(program, point):
        name = program.layers[words["layer"]].name
        one = tile_cycles(program.config, words, (kept or {}).get(name, 1.0), latency)
        totals[name] += one.behind(before)
        before = one
    return totals


def tiles(program: Program, point: str = DENSE) -> list[dict[str, int]]:
    """The words of a point's descriptors, in order, as the core reads them."""
    table = header_words(program.config)
    header = _words(program, table, program.base + program.points.index(point) * HEADER_BYTES)
    return [
        _words(program, descriptor_words(program.config), header["first"] + n * DESCRIPTOR_BYTES)
        for n in range(header["tiles"])
    ]


def _words(program: Program, table: dict[str, Word], address: int) -> dict[str, int]:
    at = address - program.base
    words = np.frombuffer(program.image, np.uint32, len(table), at)
    return {
        name: int(np.int32(value)) if word.low < 0 else int(value)
        for (name, word), value in zip(table.items(), words, strict=True)
    }


def tile_cycles(
    config: Config, words: dict[str, int], kept: Kept = 1.0, latency: int = 40
) -> TileCycles:
    """Cycles of one tile from its descriptor's words."""
    channels, width, kernel = words["channels"], words["width"], words["kernel_words"]
    bus = config.bus_bytes
    # From a task's last word to its activations in the bank.
    pipeline = array_latency(config) + REQUANTISER_LATENCY
    beats_per_word, beats_per_group = config.lanes // bus, config.group // bus

    # Records and residual go on chip when the engine starts; before, their queues fill.
    record_beats = (record_words(config) + kernel) * beats_per_word
    residual_beats = words["residual"] * words["height"] * beats_per_group
    residual_beats *= (width - 1) * words["residual_stride"] + 1
    early = min(channels * record_beats, READ_QUEUE), min(residual_beats, READ_QUEUE)
    placements, beats, others = _load(config, words, early, min(record_beats / 2, BURST), latency)
    load = latency + max(placements, beats + others)

    # What the array computes for each channel, and how long each part of the engine takes for it.
    computed, predicted = _positions(words)
    survivors = np.broadcast_to(np.round(kept * predicted), channels) if words["zap"] else 0
    task = max(kernel, min(config.pes, computed))
    first_pass = ceil_div(computed, config.pes) * task
    second_pass = ceil_div(survivors, config.pes) * task
    array = first_pass + second_pass + np.zeros(channels)
    rows = words["height"] - words["first_row"]
    walk = computed + (rows / 2 if words["zap"] else 0) + 1
    shared = words["restored"] * beats_per_group
    group_beats = residual_beats + shared
    loads = np.full(channels, record_beats + group_beats / config.group)
    loads[: config.group] -= group_beats / config.group
    loads[0] -= record_beats
    smooth = _smoothed(array, computed) if words["zap"] else array
    needs = [smooth, walk, loads, (smooth + pipeline) / 2]
    flush = 0.0
    if words["zap"]:
        positions = (words["scored_end"] + 2) * (width + 2) + PREDICTOR_LATENCY
        flush = 2 * (width + 2) + PREDICTOR_LATENCY + pipeline
        late = second_pass * min(2 / max(rows, 1), 1)
        meanwhile = min(VALUE_QUEUE, computed) / config.pes * task
        needs += [positions, smooth + np.maximum(flush - late - meanwhile, 0)]
        flush = max(flush - float(np.broadcast_to(late, channels)[-1]), 0)
    channel = np.maximum.reduce([np.broadcast_to(need, channels) for need in needs])

    # Groups of G channels leave behind the array; the last one is waited for.
    leaves, clears = _leaving(config, words)
    groups = np.add.reduceat(channel, np.arange(0, channels, config.group))
    compute = float(np.maximum(groups, leaves + clears).sum()) + flush + pipeline
    # Nothing begins before the first of them are there, and the pattern's distances.
    compute += max(record_beats, group_beats, SCHEDULER_LATENCY)
    store = leaves + latency + _START
    fetch = _START + latency + _WORDS
    beside = None
    if words["early"]:
        # A write waits for one of two banks, in every pair of PEs; the array's records go first.
        written = words["ifm_row_words"] * _rows(words) * words["pack_height"]
        conflicts = written << ceil_div(config.pes, 2)
        left = max(1 - loads.sum() / compute, 0.1)
        beside = fetch + latency + max(placements, conflicts, beats / left)
    return TileCycles(
        load=load + _START,
        compute=compute,
        store=store,
        busy=float(array.sum()),
        beside=beside,
        fetch=fetch,
        clear=max(clears - latency, 0),
    )


def _smoothed(array: np.ndarray, computed: int) -> np.ndarray:
    """The array's cycles for each channel, as far as it goes on while the predictor is behind.

    As many activations as wait before the predictor let channels of much and of little work even
    out, two at most.
    """
    share = min(VALUE_QUEUE / max(computed, 1), 1) / 2
    following = np.append(array[1:], array[-1])
    return (1 - share) * array + share * following


def _positions(words: dict[str, int]) -> tuple[int, int]:
    """Of one channel of a tile: activations of `I_s`, and of `I_t` that are decided here."""
    period = words["period"]
    bits = np.array([words["pattern"] >> bit & 1 for bit in range(period)], bool)
    rows, cols = np.ogrid[: words["height"], : words["width"]]
    computed = bits[(rows + cols) % period]
    scored = computed[words["scored_row"] : words["scored_end"]]
    return int(computed[words["first_row"] :].sum()), int((~scored).sum())


def _load(
    config: Config, words: dict[str, int], early: tuple[int, int], burst: float, latency: int
) -> tuple[float, float, float]:
    """Of the ifm: cycles for its placements, what memory takes for its beats, and for others.

    Those are `early` beats of records, in bursts of `burst`, and of the residual. Bursts take
    turns, so no more of them come before the ifm's last than it has itself.
    """
    parts = config.group // config.bus_bytes
    planes = ceil_div(words["ifm_channels"], config.group)
    cols = words["pad_left"] + words["ifm_width"] + words["pad_right"]
    placements = _rows(words) * words["pack_height"] * planes * parts * cols
    row_beats = words["ifm_width"] * parts
    requests = words["ifm_height"] * words["pack_height"] * planes
    bursts = ceil_div(row_beats, BURST)
    beats = requests * max(row_beats, bursts * (latency + 6) / _BURSTS, 2)
    records, residual = early
    others = min(records, requests * bursts * burst) + min(residual, requests * bursts * BURST)
    return placements, beats, others


def _rows(words: dict[str, int]) -> int:
    """Rows that are loaded, padding included."""
    return words["pad_top"] + words["ifm_height"] + words["pad_bottom"]


def _leaving(config: Config, words: dict[str, int]) -> tuple[float, float]:
    """Cycles in which a group of channels leaves its bank, and in which that is cleared then."""
    windows = words["pool.height"] * words["pool.width"]
    taps = windows * words["pool.kernel_height"] * words["pool.kernel_width"]
    if words["pool.average"]:
        taps += windows * (config.group + 6)
    shared = words["restored"] + words["spilled"]
    beats = (words["ofm_words"] + words["spilled"]) * config.group // config.bus_bytes
    clear = words["pixels"] if words["pool.pooled"] or shared else 0
    return max(taps + words["spilled"], beats), clear
