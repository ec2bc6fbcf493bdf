"""The parts of the report, and writing them: a page, and picture and CSV files of its figures."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from plotly import graph_objects
from plotly.offline import get_plotlyjs

from bench.report import style
from golden.files import write_file

__all__ = ["PAGE", "Exhibit", "Interactive", "Part", "Records", "Section", "write_page"]

PAGE = "index.html"
"""The report's file."""

Records = Sequence[Mapping[str, object]]
"""Rows of a CSV file, all with the same keys."""


@dataclass(frozen=True, kw_only=True)
class Interactive:
    """A figure of operating points, and one of the layers of the operating point that is selected.

    Parameters
    ----------
    overview : plotly Figure
        The customdata of its markers are the names of operating points.
    details : {operating point: plotly Figure}
        All have the same axes.
    selected : str
        The operating point that is shown first.
    """

    overview: graph_objects.Figure
    details: Mapping[str, graph_objects.Figure]
    selected: str

    def json(self) -> str:
        """Return the figures as JSON that may stand in a script element of a page."""
        content = {
            "overview": json.loads(self.overview.to_json()),
            "details": {name: json.loads(each.to_json()) for name, each in self.details.items()},
            "selected": self.selected,
        }
        return json.dumps(content).replace("<", "\\u003c")


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A figure or a table, or both, with the numbers behind them.

    Parameters
    ----------
    name : str
        The name of its files, without ending.
    heading, caption : str
        The heading names its subject; the caption says what it shows and how to read it.
    figure : Figure or None
        Shown on the page, unless there is an interactive one.
    interactive : Interactive or None
    records : Records
        The rows of the CSV file.
    table : (headings, rows of texts) or None
        Shown on the page.
    folded : bool
        Whether the table opens only on a click.
    """

    name: str
    heading: str
    caption: str
    records: Records
    figure: Figure | None = None
    interactive: Interactive | None = None
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """Exhibits of one kind; `text` describes what they have in common."""

    title: str
    text: str
    exhibits: Sequence[Exhibit]


@dataclass(frozen=True)
class Part:
    """Sections about the same networks; a part without a title has no heading."""

    title: str
    sections: Sequence[Section]


def write_page(
    folder: Path, *, title: str, command: str, parts: Sequence[Part], skipped: Sequence[str]
) -> Path:
    """Write everything into `folder`; return the page, which needs none of the other files."""
    exhibits = [each for part in parts for section in part.sections for each in section.exhibits]
    pictures: dict[str, str] = {}
    drawings: dict[str, str] = {}
    sheets: dict[str, str] = {}
    for exhibit in exhibits:
        if exhibit.figure is not None:
            picture = style.save(exhibit.figure, folder / f"{exhibit.name}.png")
            pictures[exhibit.name] = _embedded("image/png", picture.read_bytes())
            drawing = style.save(exhibit.figure, folder / f"{exhibit.name}.svg")
            drawings[exhibit.name] = _embedded("image/svg+xml", drawing.read_bytes())
        sheet = _csv(exhibit.records)
        write_file(folder / f"{exhibit.name}.csv", sheet)
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
        parts=parts,
        skipped=skipped,
        pictures=pictures,
        drawings=drawings,
        sheets=sheets,
        plotly=get_plotlyjs() if any(exhibit.interactive for exhibit in exhibits) else "",
    )
    return write_file(folder / PAGE, page)


def _csv(records: Records) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _embedded(kind: str, content: bytes) -> str:
    """Return a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
