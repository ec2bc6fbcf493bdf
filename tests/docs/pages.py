"""The documentation as data: pages, their headings, links, code and tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["PAGES", "ROOT", "Block", "Page", "Table", "page"]

ROOT = Path(__file__).resolve().parent.parent.parent
_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block of code: its language, its text and the number of its first line."""

    language: str
    text: str
    line: int

    @property
    def commands(self) -> list[list[str]]:
        """Return the typed words: of lines after `$` in a console, and of every line of bash."""
        if self.language not in ("bash", "console"):
            return []
        lines = self.text.splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [words for line in lines if (words := shlex.split(line, comments=True))]


@dataclass(frozen=True)
class Table:
    """A table: the heading that it stands under, what is said before it there, and its cells."""

    heading: str
    before: str
    head: list[str]
    rows: list[list[str]]
    line: int


class Page:
    """A Markdown file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.name = file.relative_to(ROOT).as_posix()
        self.text = file.read_text()
        self._tokens = _PARSER.parse(self.text)

    def __repr__(self) -> str:
        return self.name

    @property
    def anchors(self) -> set[str]:
        """The anchors of its headings, as forges and the site make them."""
        return {_slug(text) for text in self.headings}

    @property
    def headings(self) -> list[str]:
        """Its headings in order."""
        tokens = zip(self._tokens, self._tokens[1:])
        return [inline.content for token, inline in tokens if token.type == "heading_open"]

    @property
    def links(self) -> list[str]:
        """The targets of its links and pictures."""
        targets = []
        for token in self._inline():
            if token.type == "link_open":
                targets.append(str(token.attrs["href"]))
            elif token.type == "image":
                targets.append(str(token.attrs["src"]))
        return targets

    @property
    def code(self) -> list[str]:
        """Return what stands between backticks."""
        return [token.content for token in self._inline() if token.type == "code_inline"]

    @property
    def prose(self) -> str:
        """Its text without any code."""
        return "\n".join(token.content for token in self._inline() if token.type == "text")

    @property
    def blocks(self) -> list[Block]:
        """Its fenced blocks."""
        return [
            Block(token.info.strip(), token.content, token.map[0] + 1 if token.map else 0)
            for token in self._tokens
            if token.type == "fence"
        ]

    @property
    def tables(self) -> list[Table]:
        """Its tables."""
        tables = []
        heading, before = "", ""
        table: Table | None = None
        for index, token in enumerate(self._tokens):
            if token.type == "heading_open":
                heading, before = self._tokens[index + 1].content, ""
            elif token.type == "table_open":
                table = Table(heading, before, [], [], token.map[0] + 1 if token.map else 0)
                tables.append(table)
            elif token.type == "table_close":
                table = None
            elif token.type == "tr_open" and table is not None:
                table.rows.append([])
            elif token.type == "inline":
                if table is None:
                    before += f"{token.content}\n\n"
                elif self._tokens[index - 1].type == "th_open":
                    table.head.append(token.content)
                else:
                    table.rows[-1].append(token.content)
        for table in tables:
            del table.rows[0]  # the head's row
        return tables

    def table(self, heading: str) -> Table:
        """The first table under a heading."""
        return next(table for table in self.tables if table.heading == heading)

    def _inline(self) -> Iterator[Token]:
        for token in self._tokens:
            yield from token.children or []


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")


@cache
def page(name: str) -> Page:
    """A page by its path from the repository's root."""
    return Page(ROOT / name)


PAGES = [
    page(file.relative_to(ROOT).as_posix())
    for file in sorted(
        [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
    )
]
"""Every page of the repository."""
