"""`make mutants`: plants defects in `hw` one at a time and says which of them no test finds.

    python -m tests.mutants --n 400 --files hw/core/dma.py hw/engine

The defects are drawn from all that `tests.mutants.sites` knows, in every file of the core in
proportion to what can be planted there. Each runs first in the core's scenarios
(`tests.hw.core.scenarios`) on Verilator: all are built into one core, and switched on one by one.
What these do not find is planted alone, and the component tests that elaborate it run on Amaranth's
simulator. Defects in what joins several cores (`hw/cores`) are not in the one core, so component
tests alone run with them. `equivalent.json` lists the defects that change nothing which a user
could see, with the reason for each.

Results are kept in `build/mutants` until a source changes. With `--minutes` the command ends after
that time with status 75 if defects are left, and the next one goes on with these.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import hashlib
import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from golden.arguments import Parser, positive, seed_number
from golden.errors import UserError, run_cli
from golden.files import write_file
from quant.runtime.progress import reporting
from tb.paths import REPOSITORY
from tests.mutants import component_tests, core_runs

__all__: list[str] = []

EQUIVALENT = Path(__file__).with_name("equivalent.json")
"""Identity of a defect -> why it changes nothing."""

_KEPT = REPOSITORY / "build" / "mutants"
_SOURCES = ("golden", "hw", "compiler", "tb", "tests/mutants")
_TESTS = {
    "core": ("tests/hw/core/scenarios.py", "tests/hw/core/scenarios.json"),
    "components": ("tests/hw",),
}
_LEAST_FOUND = 0.95
"""Share of the defects, without the equivalent ones, that must be found."""


def main() -> int:
    parser = Parser(prog="tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=400, help="how many defects")
    parser.add_argument("--seed", type=seed_number, default=1)
    parser.add_argument("--files", nargs="*", default=["hw"], help="files or folders of hw")
    parser.add_argument("--only", default="", help="plant only defects whose identity has this")
    parser.add_argument("--json", type=Path, help="where to write the result of each defect")
    parser.add_argument("--minutes", type=positive, help="how long to run at a time")
    arguments = parser.parse_args()
    equivalent = json.loads(EQUIVALENT.read_text())
    of_core, of_system = core_runs.reachable()
    every = [*of_core, *of_system]
    unknown = equivalent.keys() - set(every)
    if unknown:
        raise UserError(f"{EQUIVALENT.name}: no such defect any more: {min(unknown)!r}")
    fitting = [
        defect
        for defect in every
        if defect.startswith(tuple(arguments.files)) and arguments.only in defect
    ]
    if not fitting:
        raise UserError(f"nothing can be planted in {' '.join(arguments.files)}")
    defects = _draw(fitting, arguments.n, arguments.seed)
    until = time.time() + 60 * arguments.minutes if arguments.minutes else math.inf
    results = _plant(defects, equivalent, frozenset(of_system), until)
    if left := len(defects) - len(results):
        print(f"{left} of {len(defects)} defects are left; the same command goes on with them")
        return os.EX_TEMPFAIL
    if arguments.json:
        write_file(arguments.json, json.dumps(results, indent=1) + "\n")
    return _report(results)


def _draw(defects: list[str], count: int, seed: int) -> list[str]:
    """Draw so many defects, from every file in proportion; the same for the same seed."""
    rng = random.Random(seed)
    files: dict[str, list[str]] = {}
    for defect in defects:
        files.setdefault(defect.split()[0], []).append(defect)
    shuffled = {file: rng.sample(members, len(members)) for file, members in files.items()}
    ranked = sorted(
        (rank / len(members), file, defect)
        for file, members in shuffled.items()
        for rank, defect in enumerate(members)
    )
    return [defect for _, _, defect in ranked[:count]]


def _plant(
    defects: list[str], equivalent: dict[str, str], outside: frozenset[str], until: float
) -> dict[str, str]:
    """Defect -> what finds it, "equivalent", or nothing; those that are left are absent.

    Those `outside` of the core do not run in its scenarios.
    """
    files = {stage: _KEPT / f"{stage}-{_digest(stage)}.json" for stage in _TESTS}
    kept = {
        stage: json.loads(file.read_text()) if file.is_file() else {}
        for stage, file in files.items()
    }

    def keep(stage: str, found: dict[str, str]) -> None:
        kept[stage] |= found
        _KEPT.mkdir(parents=True, exist_ok=True)
        write_file(files[stage], json.dumps(kept[stage], indent=1) + "\n")

    with reporting() as report:
        found = core_runs.find(
            [defect for defect in defects if defect not in outside],
            lambda done: report("core", done, len(defects)),
            known=kept["core"],
            until=until,
        )
        keep("core", found)
        found |= dict.fromkeys((each for each in defects if each in outside), "")
        survivors = [defect for defect, result in found.items() if not result]
        missing = [defect for defect in survivors if defect not in kept["components"]]
        for packages in (component_tests.OF_CORE, component_tests.OF_SYSTEM):
            of_system = packages is component_tests.OF_SYSTEM
            some = [defect for defect in missing if (defect in outside) == of_system]
            if some and time.time() < until:
                keep("components", _components(some, packages, report, until))
    results = {}
    for defect, result in found.items():
        result = result or kept["components"].get(defect, "left")
        if not result and defect in equivalent:
            result = "equivalent"
        if result != "left":
            results[defect] = result
    return results


def _components(
    defects: list[str], packages: Sequence[str], report: Callable[..., None], until: float
) -> dict[str, str]:
    """Defect -> the component test of these packages that finds it, or nothing."""

    def on_progress(done: int) -> None:
        report("components", done, len(defects))

    return component_tests.find(defects, on_progress, packages=packages, until=until)


def _digest(stage: str) -> str:
    """A digest of all sources on which a stage's results depend."""
    paths = [REPOSITORY / path for path in (*_SOURCES, *_TESTS[stage])]
    files = sorted(
        file
        for path in paths
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.suffix in (".py", ".v", ".json") and file != EQUIVALENT
    )
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _report(results: dict[str, str]) -> int:
    """Print a table of the files and every defect that nothing finds; returns the exit status."""
    kinds: dict[str, Counter[str]] = {}
    for defect, result in results.items():
        kinds.setdefault(defect.split()[0], Counter())[_kind(result)] += 1
    columns = ("core", "component", "equivalent", "not found")
    print(f"{'file':36}{'planted':>9}" + "".join(f"{column:>12}" for column in columns))
    totals: Counter[str] = sum(kinds.values(), Counter())
    for file, counts in [*sorted(kinds.items()), ("total", totals)]:
        print(_row(file, counts.total(), (counts[column] for column in columns)))
    for defect, result in results.items():
        if not result:
            print(f"not found: {defect}")
    able = totals.total() - totals["equivalent"]
    found = able - totals["not found"]
    print(f"{found} of {able} defects that are not equivalent are found: {found / able:.1%}")
    return 0 if found >= _LEAST_FOUND * able else 1


def _kind(result: str) -> str:
    if result in ("", "equivalent"):
        return result or "not found"
    return "component" if result.startswith("tests/") else "core"


def _row(name: str, planted: int, counts: Iterable[int]) -> str:
    return f"{name:36}{planted:>9}" + "".join(f"{count:>12}" for count in counts)


if __name__ == "__main__":
    run_cli(main)
