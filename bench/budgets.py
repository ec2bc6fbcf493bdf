"""Tells how well budgets of accuracy are kept, from lists of operating points.

    python -m bench.budgets FILE ... [--table FILE]

The files are those that `quant.choose --max-drop ... --json FILE` adds its results to. A budget is
kept if the loss on the test images is at most the budget and one standard error of that loss, image
by image. Operating points that were fine-tuned are left out, and so are those of older lists, which
have no standard errors.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.table import Table

from golden.arguments import Parser, natural
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.reading import read_json
from golden.terminal import Console
from quant.points.results import MeasuredPoint, parse_point

__all__: list[str] = []

_WIDTH = 130
"""The table's width in characters."""


def main() -> None:
    """Run the command line: print one row for each point, and how many are kept."""
    parser = Parser(prog="python -m bench.budgets", description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the table to FILE")
    fewest = "leave out operating points that were measured on fewer test images"
    parser.add_argument("--fewest-images", type=natural, default=0, metavar="N", help=fewest)
    args = parser.parse_args()
    if args.table is not None:
        check_writable_file(args.table)
    points = [
        point
        for file in args.files
        for point in _promises(file)
        if (point.images or 0) >= args.fewest_images
    ]
    if not points:
        names = ", ".join(map(str, args.files))
        raise UserError(f"{names}: no operating points of quant.choose --max-drop with a promise")
    text = StringIO()
    console = Console(file=text, width=_WIDTH)
    console.print(_table(points))
    console.print(_summary(points), highlight=False)
    print(text.getvalue(), end="")
    if args.table is not None:
        write_file(args.table, text.getvalue())


def _promises(file: Path) -> list[MeasuredPoint]:
    entries = read_json(file, "write it with quant.choose --json")
    if not isinstance(entries, list):
        raise UserError(f"{file}: is no list of operating points")
    points = [parse_point(file, index, entry) for index, entry in enumerate(entries)]
    return [point for point in points if point.promise is not None]


def _is_kept(point: MeasuredPoint) -> bool:
    return point.promise is not None and point.drop <= point.promise


def _share(point: MeasuredPoint) -> float:
    """Return the loss over the budget."""
    assert point.max_drop is not None
    return point.drop / point.max_drop


def _table(points: Sequence[MeasuredPoint]) -> Table:
    table = Table(title="budgets of accuracy and what was lost, in percentage points")
    table.add_column("network", no_wrap=True)
    table.add_column("dataset")
    table.add_column("how", no_wrap=True)
    headings = ("images", "budget", "expected", "lost", "promise", "lost / budget", "kept")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for point in points:
        table.add_row(
            point.network,
            Path(point.dataset).name,
            point.tuning,
            "" if point.images is None else f"{point.images:,}",
            f"{point.max_drop:g}",
            f"{point.expected_drop:.2f} ± {point.predicted_deviation:.2f}",
            f"{point.drop:.2f} ± {point.deviation:.2f}",
            f"{point.promise:.2f}",
            f"{_share(point):.2f}",
            "yes" if _is_kept(point) else "no",
        )
    return table


def _summary(points: Sequence[MeasuredPoint]) -> str:
    kept = sum(map(_is_kept, points))
    mean = sum(map(_share, points)) / len(points)
    networks = len({point.where for point in points})
    return (
        f"{kept} of {len(points)} budgets kept ({100 * kept / len(points):.0f} %) on {networks} "
        f"networks; lost / budget {mean:.2f} in the mean"
    )


if __name__ == "__main__":
    run_cli(main)
