"""Programs for the core in its memory that exercise all of it, and what must come of each.

A scenario is a list of runs, one after another in one simulation. `verify` compares every tensor of
every run that ends well with golden, what the core counts with what the bus counts, and the cycles
in which the array multiplied with the layers' sizes. It compares every counter and every message
with `COUNTED` too, cycles included, so that a change which only costs time is noticed.
`tests.hw.core.count_scenarios` writes that file.

`make mutants` runs the same scenarios on cores with planted defects.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from compiler.program import DENSE, Program
from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from hw.contract.bus import PAGE_BITS
from hw.contract.config import Config
from hw.contract.counters import CORE_COUNTERS
from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    descriptor_words,
    header_words,
)
from hw.contract.timing import READ_QUEUE
from tb.exchange.core_files import Outcome, Run
from tb.random.networks import random_runs
from tb.random.programs import edited, first_descriptor
from tb.random.zaps import POINT
from tb.runs import core
from tests.hw.small_configs import STRIPS

__all__ = [
    "COUNTED",
    "MIXED",
    "Scenario",
    "bad_programs",
    "scenarios",
    "summary",
    "tensors",
    "verify",
]

MIXED = replace(STRIPS, name="mixed", lanes=16, group=8, predictor_tables=2)
"""Buffers that cut most layers into strips, several beats to a pixel, and two groups to a word."""

COUNTED = Path(__file__).with_name("scenarios.json")
"""Scenario -> for each run what `summary` returns."""

NOWHERE = 0x4000_0000
"""An offset past the end of every simulated memory, and of every program's window."""
_ALL_PAGES = 2 * NOWHERE >> PAGE_BITS
"""Pages of a window that reaches past `NOWHERE`."""


@dataclass(frozen=True)
class Scenario:
    """Runs in their order.

    Parameters
    ----------
    bundles : list of Bundle or None
        The network of each run that must end well, and None where it must not.
    """

    name: str
    bundles: list[Bundle | None]
    runs: list[Run]


def scenarios(config: Config = MIXED) -> list[Scenario]:
    """All scenarios, the quickest first; always the same ones."""
    pairs = random_runs(config, 16, seed=3)
    return [
        _networks("first networks", pairs[:3]),
        _networks("networks", pairs[3:]),
        _networks("networks in slices", _in_slices(config)),
        _networks("impatient networks", [_with(pair, stall=0.9, latency=1) for pair in pairs[:6]]),
        _networks("networks far away", [_with(pair, stall=0.0, latency=500) for pair in pairs[6:]]),
        _disturbances(pairs[:4]),
        _faults(pairs),
        _refusals(pairs[0]),
    ]


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return what a run counted and reported; every run without defects gives the same."""
    return {"fault": outcome.fault, "violations": outcome.violations, **outcome.totals}


def tensors(run: Run, outcome: Outcome) -> list[np.ndarray]:
    """Every layer's ofm, read from memory."""
    found = []
    for layer in run.program.layers:
        place = run.program.tensors[layer.output]
        first = place.address - len(run.program.image)
        found.append(place.unpack(outcome.memory[first : first + place.size].tobytes()))
    return found


def verify(scenario: Scenario, outcomes: Sequence[Outcome]) -> None:
    """Assert that a scenario's runs came out as they must."""
    counted = json.loads(COUNTED.read_text())[scenario.name]
    for number, (bundle, run, outcome) in enumerate(
        zip(scenario.bundles, scenario.runs, outcomes, strict=True)
    ):
        assert summary(outcome) == counted[number], f"{scenario.name}, run {number}"
        if bundle is not None:
            mismatches = [check.mismatch for check in core.check(bundle, run, outcome)]
            assert not any(mismatches), f"{scenario.name}, run {number}: {mismatches}"
            if run.point == DENSE:
                assert outcome.totals["busy"] == _busy(run.program)
        for counter, total in outcome.totals.items():
            assert total == sum(layer[counter] for layer in outcome.layers)
        assert outcome.totals.keys() in (set(), CORE_COUNTERS.keys())


def bad_programs(program: Program) -> list[tuple[Program, str]]:
    """Programs with one word outside its limits, and the fault that the core reports for each."""
    header = program.points.index(POINT) * HEADER_BYTES
    cases = []
    for table, at, kind in (
        (header_words(program.config), header, "header"),
        (descriptor_words(program.config), first_descriptor(program, POINT), "descriptor"),
    ):
        for number, (name, word) in enumerate(table.items()):
            if word.multiple > 1:
                wrong = word.multiple // 2
            elif word.high < (1 << 32) - 1:
                wrong = word.high + 1
            else:
                continue  # anything goes
            bad = edited(program, at + 4 * number, wrong)
            cases.append((bad, f"{kind} fault, word {number}, layer"))
            assert not word.accepts(wrong), name
    return cases


def _busy(program: Program) -> int:
    """Cycles in which the array multiplies without ZAP: P pixels of a channel, then the next P.

    Pixels that the strip above has computed are not computed again.
    """
    return sum(
        words["channels"]
        * words["kernel_words"]
        * ceil_div(words["width"] * words["height"] - words["restored"], program.config.pes)
        for words in program.descriptors(DENSE)
    )


def _in_slices(config: Config) -> list[tuple[Bundle, Run]]:
    """Networks with grouped convolutions whose ifm is loaded slice by slice."""
    return [
        (bundle, run)
        for bundle, run in random_runs(config, 24, seed=4)
        if any(words["slice_step"] for words in run.program.descriptors(run.point))
    ]


def _with(pair: tuple[Bundle, Run], **changes: Any) -> tuple[Bundle, Run]:
    bundle, run = pair
    return bundle, replace(run, **changes)


def _networks(name: str, pairs: list[tuple[Bundle, Run]]) -> Scenario:
    return Scenario(name, [bundle for bundle, _ in pairs], [run for _, run in pairs])


def _disturbances(pairs: list[tuple[Bundle, Run]]) -> Scenario:
    """Aborts, starts, resets and errors of the memory at many times, each before a whole run."""
    rng = random.Random(1)
    bundles: list[Bundle | None] = []
    runs = []
    for bundle, run in pairs:
        run = replace(run, stall=0.0, latency=rng.choice([1, 100]))
        program = run.program
        scratch = len(program.image)
        header = program.points.index(run.point) * HEADER_BYTES
        first = header + 4 * list(header_words(program.config)).index("first")
        ofm = first_descriptor(program, run.point) + 4 * list(
            descriptor_words(program.config)
        ).index("ofm_address")
        last = program.end - program.config.bus_bytes
        disturbed = [
            *(replace(run, event="abort", after=rng.randrange(1500)) for _ in range(4)),
            replace(run, event="reset", after=rng.randrange(1500)),
            replace(run, faulty=(0, last)),
            replace(run, faulty=(scratch, last)),
            replace(run, program=edited(program, first, NOWHERE)),
            replace(run, program=edited(program, ofm, NOWHERE)),
            replace(run, program=edited(program, first, NOWHERE), pages=_ALL_PAGES),
            replace(
                run,
                program=edited(program, ofm, NOWHERE),
                pages=_ALL_PAGES,
                writes_anywhere=True,
            ),
        ]
        for one in disturbed:
            runs += [one, run]
            bundles += [None, bundle]
        runs.append(replace(run, event="start", after=rng.randrange(1500)))
        bundles.append(bundle)
    return Scenario("disturbances", bundles, runs)


def _faults(pairs: list[tuple[Bundle, Run]]) -> Scenario:
    """Faults of a tile that is loaded ahead, of the tile before it, and of the window.

    The tile that is loaded ahead gets the number of another layer, so that a fault tells whose it
    is. Each run is followed by a whole one.
    """
    bundle, run, number = next(
        (bundle, run, number)
        for bundle, run in pairs
        for number, (tile, following) in enumerate(pairwise(run.program.descriptors(run.point)))
        if following["early"]
        and _weight_bytes(run, tile) > READ_QUEUE * run.program.config.bus_bytes
    )
    run = replace(run, latency=1, stall=0.0)
    tiles = list(run.program.descriptors(run.point))
    first = first_descriptor(run.program, run.point)
    words = list(descriptor_words(run.program.config))

    def wrong(tile: int, word: str, value: int) -> Run:
        program = run.program
        renumbered = number + 1, "layer", tiles[-1]["layer"]
        for at, name, becomes in (renumbered, (tile, word, value)):
            place = first + at * DESCRIPTOR_BYTES + 4 * words.index(name)
            program = edited(program, place, becomes)
        return replace(run, program=program)

    # All weights but the last channel's last words are in the window.
    crossing = run.size + run.program.config.lanes - _weight_bytes(run, tiles[number])
    disturbed = [
        wrong(number + 1, "ifm_address", NOWHERE),
        wrong(number + 1, "parameters", NOWHERE),
        wrong(number, "weights", crossing),
        replace(run, base=run.base + run.program.config.bus_bytes),
    ]
    runs = [one for disturbance in disturbed for one in (disturbance, run)]
    return Scenario("faults", [None, bundle] * len(disturbed), runs)


def _weight_bytes(run: Run, tile: dict[str, int]) -> int:
    return tile["channels"] * tile["kernel_words"] * run.program.config.lanes


def _refusals(pair: tuple[Bundle, Run]) -> Scenario:
    """Programs with a word outside its limits, and at last the whole program."""
    bundle, run = pair
    run = replace(run, point=POINT, latency=1, stall=0.0)
    bad = [replace(run, program=program) for program, _ in bad_programs(run.program)]
    return Scenario("refusals", [*([None] * len(bad)), bundle], [*bad, run])
