"""`make mutants-python`: plants defects in golden model and compiler, lists those no test finds.

    build/mutmut/bin/python -m tests.python_mutants --n 150

The defects are mutmut's: another number, operator, comparison, argument, text or constant. Some of
them are drawn, from each file in proportion. For each, mutmut runs the tests that call the changed
function. `equivalent.json` lists the defects that change nothing which a user could see, with the
reason for each.

mutmut works in a folder of its own, `build/python_mutants`, and keeps its results there until a
source changes. So a run that was ended goes on where it was, and only survivors run again.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from golden.arguments import Parser, positive, seed_number
from golden.errors import UserError, run_cli
from golden.files import write_file
from tb.paths import REPOSITORY

__all__: list[str] = []

EQUIVALENT = Path(__file__).with_name("equivalent.json")
"""Defect -> why it changes nothing."""

FILES = (
    *(f"golden/{name}.py" for name in ("arithmetic", "layers", "padding", "pattern")),
    *(f"compiler/{name}.py" for name in ("memory_layout", "program", "tensor_placement")),
    *(f"compiler/lowering/{name}.py" for name in ("layer_lowering", "patches", "record_packing")),
    *(f"compiler/lowering/{name}.py" for name in ("slices", "steps", "strips", "tile_words")),
)
"""The files that defects are planted in."""

TESTS = (
    *(f"tests/golden/test_{name}.py" for name in ("arithmetic", "bundle", "network", "node_walk")),
    *(f"tests/golden/test_{name}.py" for name in ("padding", "pattern", "zap_sites")),
    *(f"tests/compiler/test_{name}.py" for name in ("batches", "program", "program_file")),
    *(f"tests/compiler/lowering/test_{name}.py" for name in ("layer_lowering", "patches")),
    *(f"tests/compiler/lowering/test_{name}.py" for name in ("slices", "strips", "tile_words")),
)
"""The tests that look for them; none needs a simulator of Verilog."""

_PACKAGES = ("bench", "compiler", "docs", "examples", "golden", "hw", "quant", "tb", "tests")
_WORK = REPOSITORY / "build" / "python_mutants"
_MUTANTS = _WORK / "mutants"

_GENERATE = """
import mutmut.__main__ as command
command.makedirs("mutants", exist_ok=True)
command.copy_src_dir()
command.copy_also_copy_files()
command.create_mutants(1)
"""
"""The first steps of `mutmut run`, after which all defects have names."""

_AGAIN = (None, 0, 33)
"""mutmut's codes for a defect that has not run, that survived, and that no test calls.

Every other number is the exit status of tests that fail or take too long.
"""


def main() -> int:
    parser = Parser(prog="tests.python_mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=150, help="how many defects")
    parser.add_argument("--seed", type=seed_number, default=1)
    arguments = parser.parse_args()
    _prepare()
    _mutmut("-c", _GENERATE)
    drawn = _draw(_results(), arguments.n, arguments.seed)
    left = [name for name, code in drawn.items() if code in _AGAIN]
    if left:
        _mutmut("-m", "mutmut", "run", "--max-children", "1", *left)
    results = _results()
    return _report({name: results[name] for name in drawn})


def _prepare() -> None:
    """Make the folder that mutmut works in: links to the packages, and its settings."""
    _WORK.mkdir(parents=True, exist_ok=True)
    for package in _PACKAGES:
        link = _WORK / package
        if not link.is_symlink():
            link.symlink_to(REPOSITORY / package)
    text = (REPOSITORY / "pyproject.toml").read_text()
    settings = {
        "source_paths": ["golden", "compiler"],
        "only_mutate": list(FILES),
        "also_copy": list(_PACKAGES),
        "pytest_add_cli_args": ["-m", "not sim and not second and not fpga", "--durations=0"],
        "pytest_add_cli_args_test_selection": list(TESTS),
        "use_git_change_detection": False,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    write_file(_WORK / "pyproject.toml", "\n".join([text, "[tool.mutmut]", *lines, ""]))


def _mutmut(*arguments: str) -> None:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, *arguments], cwd=_WORK, env=os.environ | threads, check=False
    )
    if done.returncode:
        raise UserError("mutmut fails; see above")


def _results() -> dict[str, int | None]:
    """Name of each defect -> mutmut's code, or None where it has not run."""
    results: dict[str, int | None] = {}
    for file in FILES:
        text = (_MUTANTS / f"{file}.meta").read_text()
        results |= json.loads(text)["exit_code_by_key"]
    return results


def _draw(results: dict[str, int | None], count: int, seed: int) -> dict[str, int | None]:
    """Draw so many defects, from each module in proportion; the same for the same seed."""
    rng = random.Random(seed)
    modules: dict[str, list[str]] = {}
    for name in sorted(results):
        modules.setdefault(_module(name), []).append(name)
    ranked = sorted(
        (rank / len(names), module, name)
        for module, names in modules.items()
        for rank, name in enumerate(rng.sample(names, len(names)))
    )
    return {name: results[name] for _, _, name in ranked[:count]}


def _module(name: str) -> str:
    """The module of a defect, whose name is that of the module and that of the function."""
    return name.rpartition(".")[0]


def _report(results: dict[str, int | None]) -> int:
    """Print a table, and every defect that is not found; returns the exit status."""
    reasons = json.loads(EQUIVALENT.read_text())
    kinds: dict[str, Counter[str]] = {}
    missed = []
    for name, code in results.items():
        kind = "found"
        if code in _AGAIN:
            said = _said(name)
            kind = "equivalent" if said in reasons else "not found"
            if kind == "not found":
                missed.append(f"{name}: {said}")
        kinds.setdefault(_module(name), Counter())[kind] += 1
    columns = ("found", "equivalent", "not found")
    print(f"{'module':32}{'planted':>9}" + "".join(f"{column:>12}" for column in columns))
    totals: Counter[str] = sum(kinds.values(), Counter())
    for module, counts in [*sorted(kinds.items()), ("total", totals)]:
        row = "".join(f"{counts[column]:>12}" for column in columns)
        print(f"{module:32}{counts.total():>9}{row}")
    for line in missed:
        print(f"not found: {line}")
    able = totals.total() - totals["equivalent"]
    print(f"{totals['found']} of {able} defects that are not equivalent are found")
    return 1 if missed else 0


def _said(name: str) -> str:
    """The lines that a defect changes: the right one, and what becomes of it."""
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name],
        cwd=_WORK,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [
        line for line in done.stdout.splitlines() if line[:1] in "+-" and line[1:2] != line[:1]
    ]
    changed = {
        sign: [" ".join(line[1:].split()) for line in lines if line[0] == sign] for sign in "-+"
    }
    module = _module(name).replace(".", "/")
    return f"{module}.py `{' '.join(changed['-'])}` -> `{' '.join(changed['+'])}`"


if __name__ == "__main__":
    run_cli(main)
