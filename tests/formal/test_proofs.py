"""The short form of the proofs: every property that takes seconds, and planted defects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.formal.harness import Defect, Harness
from tests.formal.harnesses import HARNESSES
from tests.formal.proofs import cover, find_defect, prove
from tests.formal.solver import Verdict, has_abc

pytestmark = [
    pytest.mark.second,
    pytest.mark.skipif(not has_abc(), reason="no ABC: make abc installs it"),
]

LIMIT = 300
DEFECTS = [(harness, defect) for harness in HARNESSES for defect in harness.defects]


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.__name__)
def test_properties_are_proved_and_events_are_possible(
    harness: type[Harness], tmp_path: Path
) -> None:
    assert harness.defects
    unproved = [
        f"{row.property}: {row.result}"
        for row in prove(harness, tmp_path, limit=LIMIT, slow=False)
        if row.result != _expected(harness, row.property)
    ]
    assert unproved == []
    reached = cover(harness, tmp_path, limit=LIMIT)
    assert reached
    assert [
        name for name, answer in reached.items() if answer.verdict is not Verdict.VIOLATED
    ] == []


def _expected(harness: type[Harness], name: str) -> str:
    bound = harness.bounded.get(name)
    return "proved" if bound is None else f"holds for {bound} cycles"


@pytest.mark.parametrize(
    ("harness", "defect"), DEFECTS, ids=lambda part: getattr(part, "breaks", None) or part.__name__
)
def test_a_planted_defect_violates_its_property(
    harness: type[Harness], defect: Defect, tmp_path: Path
) -> None:
    answer = find_defect(harness, defect, tmp_path, limit=LIMIT)
    assert answer.verdict is Verdict.VIOLATED
