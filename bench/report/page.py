"""The parts of the report, and how they are written: a page, and a PNG and a CSV of each figure."""

from __future__ import annotations

import base64
import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

__all__ = ["Exhibit", "Records", "Section", "save_figure", "write"]

Records = Sequence[Mapping[str, object]]
"""Rows of a CSV file, all with the same keys."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A figure or a table, or both, with the numbers behind them.

    Parameters
    ----------
    name : str
        Of its files, without ending.
    heading, caption : str
        What it is of; what it shows and how to read it.
    figure : Figure or None
    records : Records
        Become the CSV file.
    table : (headings, rows of texts) or None
        Shown on the page.
    folded : bool
        The table opens on a click.
    """

    name: str
    heading: str
    caption: str
    records: Records
    figure: Figure | None = None
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """Exhibits of one kind; `text` says what they have in common."""

    title: str
    text: str
    exhibits: Sequence[Exhibit]


def write(
    folder: Path, *, title: str, command: str, sections: Sequence[Section], skipped: Sequence[str]
) -> Path:
    """Write everything into `folder`; returns the page, which needs none of the other files."""
    pictures: dict[str, str] = {}
    sheets: dict[str, str] = {}
    for section in sections:
        for exhibit in section.exhibits:
            if exhibit.figure is not None:
                picture = save_figure(exhibit.figure, folder / f"{exhibit.name}.png")
                pictures[exhibit.name] = _embedded("image/png", picture.read_bytes())
            sheet = _csv(exhibit.records)
            _replace(folder / f"{exhibit.name}.csv", sheet)
            sheets[exhibit.name] = _embedded("text/csv", sheet)
    environment = Environment(
        loader=PackageLoader("bench.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        command=command,
        sections=sections,
        skipped=skipped,
        pictures=pictures,
        sheets=sheets,
    )
    return _replace(folder / "index.html", page.encode())


def save_figure(figure: Figure, file: Path) -> Path:
    """Write a PNG, whole or not at all; returns its path."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return _replace(file, content.getvalue())


def _csv(records: Records) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _embedded(kind: str, content: bytes) -> str:
    """A data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _replace(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{os.getpid()}.new")
    scratch.write_bytes(content)
    os.replace(scratch, file)
    return file
