"""Programs that are damaged: one or two words of a descriptor become others that a core accepts."""

from __future__ import annotations

import random
from dataclasses import replace

from compiler.program import Program
from golden.bundle import Bundle
from hw.contract.config import Config
from hw.contract.program import DESCRIPTOR_BYTES, HEADER_BYTES, descriptor_words, header_words
from hw.core.core import patience
from tb.exchange.core_files import Run
from tb.random.networks import random_runs

__all__ = ["WINDOW", "contradictory", "damaged_runs", "edited", "first_descriptor"]

WINDOW = 1 << 20
"""Bytes of the window of a damaged program; it may write to any of them."""
_LARGEST_COUNT = 100
"""Words that are no addresses become at most this, so that most programs end soon."""


def edited(program: Program, address: int, value: int) -> Program:
    """Return the program with another word in its image."""
    text = (value & 0xFFFFFFFF).to_bytes(4, "little")
    return replace(program, image=program.image[:address] + text + program.image[address + 4 :])


def first_descriptor(program: Program, point: str) -> int:
    """Return the offset of an operating point's first descriptor."""
    number = list(header_words(program.config)).index("first")
    at = program.points.index(point) * HEADER_BYTES + 4 * number
    return int.from_bytes(program.image[at : at + 4], "little")


def contradictory(program: Program, point: str, rng: random.Random) -> tuple[Program, str]:
    """Change some words of a descriptor within their limits; returns the program and the changes.

    Addresses and distances may become any, in the window or not.
    """
    tiles = sum(layer.tiles[point] for layer in program.layers)
    tile = first_descriptor(program, point) + rng.randrange(tiles) * DESCRIPTOR_BYTES
    table = descriptor_words(program.config)
    free = [name for name, word in table.items() if word.low < word.high]
    changes = []
    for name in rng.sample(free, rng.choice([1, 1, 2])):
        word, number = table[name], list(table).index(name)
        if word.multiple > 1:
            most = rng.choice([program.end, 2 * WINDOW, word.high])
            value = rng.randrange(most + 1) // word.multiple * word.multiple
        else:
            high = min(word.high, _LARGEST_COUNT)
            value = rng.choice([word.low, high, rng.randint(word.low, high)])
        program = edited(program, tile + 4 * number, value)
        changes.append(f"{name} = {value}")
    return replace(program, end=WINDOW), ", ".join(changes)


def damaged_runs(
    config: Config, count: int, networks: int, seed: int
) -> tuple[list[Bundle], list[Run], list[str]]:
    """Draw runs of damaged programs, each followed by the run of the whole program.

    Returns the bundle of each damaged program, the runs (twice as many), and what was changed. A
    damaged program that runs for very long is aborted.
    """
    rng = random.Random(seed)
    pairs = random_runs(config, networks, seed)
    bundles, runs, changed = [], [], []
    for number in range(count):
        bundle, run = pairs[number % len(pairs)]
        run = replace(run, stall=0.0, latency=5, writes_anywhere=True)
        program, changes = contradictory(run.program, run.point, rng)
        runs += [replace(run, program=program, event="abort", after=16 * patience(config)), run]
        bundles.append(bundle)
        changed.append(changes)
    return bundles, runs, changed
