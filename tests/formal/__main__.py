"""Prove the hardware's properties and print the table: component, property, result, seconds.

The short form leaves out the proofs that take minutes.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from golden.arguments import Parser, positive
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.reading import read_json
from tests.formal.harnesses import HARNESSES
from tests.formal.proofs import Row, cover, find_defect, prove, table
from tests.formal.solver import Verdict, abc_command

__all__: list[str] = []

_FOLDER = Path("build/formal")
_SHORT, _LONG = 120, 900
"""Seconds for a property."""


def main() -> int:
    parser = Parser(description=__doc__)
    parser.add_argument("component", nargs="*", help="harness, for example WritePort (default all)")
    parser.add_argument("--long", action="store_true", help="also the proofs that take minutes")
    parser.add_argument(
        "--limit",
        type=positive,
        help=f"seconds for a property (default {_SHORT}, with --long {_LONG})",
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file of the table; rows of components not named stay in it"
    )
    arguments = parser.parse_args()
    harnesses = {each.__name__.removesuffix("Harness"): each for each in HARNESSES}
    for name in arguments.component:
        if name not in harnesses:
            raise UserError(f"no harness {name!r}: use {', '.join(harnesses)}")
    if arguments.out is not None:
        check_writable_file(arguments.out)
    abc_command()

    limit = arguments.limit or (_LONG if arguments.long else _SHORT)
    rows: list[Row] = []
    failed: list[str] = []
    for name in arguments.component or harnesses:
        harness, folder = harnesses[name], _FOLDER / name
        for row in prove(harness, folder, limit=limit, slow=arguments.long):
            print(f"{row.component}: {row.property}: {row.result}, {row.seconds} s", flush=True)
            rows.append(row)
            if row.result.startswith("violated"):
                failed.append(f"{row.component}: {row.property}: {row.result}")
        for event, answer in cover(harness, folder, limit=limit).items():
            if answer.verdict is not Verdict.VIOLATED:
                failed.append(f"{harness.component}: not reached: {event}")
        for defect in harness.defects:
            answer = find_defect(harness, defect, folder, limit=limit)
            if answer.verdict is not Verdict.VIOLATED:
                failed.append(f"{harness.component}: not found: {defect.new!r} in {defect.module}")
    if arguments.out is not None:
        write_file(arguments.out, _updated(arguments.out, rows))
    print(table(rows))
    print(*failed, sep="\n")
    proved = sum(row.result == "proved" for row in rows)
    print(f"{proved} of {len(rows)} properties proved for histories of any length")
    return 1 if failed else 0


def _updated(file: Path, rows: list[Row]) -> str:
    """The text of a table in which these rows replace those of the same components."""
    old = read_json(file) if file.exists() else []
    new = [asdict(row) for row in rows]
    replaced = {_harness(row) for row in new}
    order = [(harness.component, harness.sizes) for harness in HARNESSES]
    kept = [row for row in old if _harness(row) in order and _harness(row) not in replaced]
    ordered = sorted([*kept, *new], key=lambda row: order.index(_harness(row)))
    return json.dumps(ordered, indent=1, ensure_ascii=False) + "\n"


def _harness(row: dict[str, Any]) -> tuple[str, str]:
    return row["component"], row["sizes"]


if __name__ == "__main__":
    run_cli(main)
