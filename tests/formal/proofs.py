"""Proofs: runs the harnesses, and says of each property what is proved of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.formal.harness import Defect, Harness
from tests.formal.netlist import write_aiger
from tests.formal.replay import violates
from tests.formal.solver import Answer, Verdict, check, find

__all__ = ["COVER_CYCLES", "Row", "cover", "find_defect", "prove", "table"]

COVER_CYCLES = 200
"""Longest history that is looked at for an event that must be possible."""

_BOUNDS = (10, 20, 40, 80)
"""Lengths of the histories that are looked at where a property is not proved."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table.

    Parameters
    ----------
    component, sizes, property : str
    result : str
        "proved", for histories of any length; "proved, if PROPERTY", where it takes a property for
        granted that is not proved itself; "violated in N cycles"; or "holds for N cycles", where
        that is all that was found out.
    seconds : float
        The solver's time.
    """

    component: str
    sizes: str
    property: str
    result: str
    seconds: float


def prove(harness: type[Harness], folder: Path, *, limit: int, slow: bool) -> Iterator[Row]:
    """Try to prove a harness's properties, for `limit` seconds each; the slow ones if asked to."""
    built, aiger = _build(harness, None, folder)
    assert harness.slow <= built.properties.keys()
    proved: set[str] = set()
    for number, name in enumerate(built.properties):
        if name in harness.slow and not slow:
            continue
        bound = harness.bounded.get(name)
        if bound is None:
            answer = check(aiger, number, limit=limit, depth=harness.depth)
        else:
            answer = find(aiger, number, limit=limit, cycles=bound)
        seconds = answer.seconds
        open_ = [earlier for earlier in built.given[name] if earlier not in proved]
        result = f"proved, if {' and if '.join(open_)}" if open_ else "proved"
        if answer.verdict is Verdict.PROVED and not open_:
            proved.add(name)
        if answer.verdict is Verdict.VIOLATED:
            result = f"violated in {answer.cycles} cycles"
        elif answer.verdict is Verdict.UNDECIDED and answer.cycles == bound:
            result = f"holds for {bound} cycles"
        elif answer.verdict is Verdict.UNDECIDED:
            cycles = 0
            for cycles_tried in _BOUNDS:
                bounded = find(aiger, number, limit=limit, cycles=cycles_tried)
                seconds += bounded.seconds
                if bounded.cycles:
                    cycles = bounded.cycles
                if bounded.cycles < cycles_tried:
                    break
            result = f"holds for {cycles} cycles"
            if bounded.verdict is Verdict.VIOLATED:
                result = f"violated in {cycles} cycles"
        yield Row(
            component=harness.component,
            sizes=harness.sizes,
            property=name,
            result=result,
            seconds=round(seconds, 1),
        )


def cover(harness: type[Harness], folder: Path, *, limit: int) -> dict[str, Answer]:
    """Look for a history in which each event happens: assumptions leave room for it."""
    built, aiger = _build(harness, None, folder)
    first = len(built.properties)
    return {
        name: find(aiger, number, limit=limit, cycles=COVER_CYCLES)
        for number, name in enumerate(built.covers, first)
    }


def find_defect(harness: type[Harness], defect: Defect, folder: Path, *, limit: int) -> Answer:
    """Look for a history in which a component with a defect violates the property it breaks.

    The history is replayed in Amaranth's simulator, which must see the violation too.
    """
    built, aiger = _build(harness, defect, folder)
    number = list(built.properties).index(defect.breaks)
    answer = find(aiger, number, limit=limit, cycles=COVER_CYCLES)
    if answer.verdict is Verdict.VIOLATED:
        with harness.in_its_sizes():
            assert violates(harness(defect), defect.breaks, answer.history)
    return answer


def table(rows: Iterable[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| component | property | result | seconds |", "|---|---|---|---|"]
    lines += [f"| {r.component} | {r.property} | {r.result} | {r.seconds} |" for r in rows]
    return "\n".join(lines)


def _build(harness: type[Harness], defect: Defect | None, folder: Path) -> tuple[Harness, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    with harness.in_its_sizes():
        built = harness(defect)
        return built, write_aiger(built, folder)
