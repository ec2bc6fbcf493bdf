"""Manner of the texts: their length, their words, and where their numbers come from."""

import re

import pytest

from tests.docs.pages import PAGES, Page, Table, page

_MOST_WORDS = 700
_PLANNING = re.compile(r"\b(?:house|door|floor|room|rooms|doors)\b", re.IGNORECASE)
_BARE_POINTS = re.compile(r"\d points?\b")
_COMMAND = re.compile(r"`(?:make [a-z-]+|python (?:-m )?\w+)")
_MEASURED = (
    "README.md",
    "docs/results.md",
    "docs/how-it-works/training.md",
    "docs/how-it-works/fpga.md",
)
"""The pages with tables of measured numbers."""


def test_the_readme_is_short() -> None:
    assert len(page("README.md").text.split()) <= _MOST_WORDS


@pytest.mark.parametrize("one", PAGES, ids=repr)
def test_words_of_planning_stay_out(one: Page) -> None:
    assert not _PLANNING.search(one.prose), _PLANNING.search(one.prose)


@pytest.mark.parametrize("one", PAGES, ids=repr)
def test_points_are_percentage_points_or_operating_points(one: Page) -> None:
    assert not _BARE_POINTS.search(one.prose), _BARE_POINTS.search(one.prose)


@pytest.mark.parametrize("name", _MEASURED)
def test_a_table_of_numbers_names_its_command(name: str) -> None:
    tables = [table for table in page(name).tables if _is_of_numbers(table)]
    assert tables
    for table in tables:
        assert _COMMAND.search(table.before), f"{name}:{table.line}"


def _is_of_numbers(table: Table) -> bool:
    cells = [cell for row in table.rows for cell in row[1:]]
    return 2 * sum(bool(re.search(r"\d", cell)) for cell in cells) > len(cells)
