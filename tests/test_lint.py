"""The checks of `make lint` as tests, and rules of the code that no tool knows."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("lint-imports",),
    ],
    ids=["ruff-check", "ruff-format", "mypy", "import-linter"],
)
def test_sources_pass(command: tuple[str, ...]) -> None:
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [tool, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def sources() -> list[Path]:
    """The files of Python that git knows, tests excepted."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(name) for name in listed.stdout.split() if not name.startswith("tests/")]


def module_of(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("word", ["Of", "What", "How", "Which", "Whether", "So"])
def test_no_docstring_begins_with_a_fragment(word: str) -> None:
    """A docstring begins with what a thing does or is: a subject, or a verb."""
    found = [
        f"{file}: {docstring.splitlines()[0]}"
        for file in sources()
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (docstring := ast.get_docstring(node)) is not None
        and docstring.split()[0].strip("`,:") == word
    ]
    assert found == []


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        (r"argparse\.ArgumentParser\(", "golden.arguments.Parser refuses in one line"),
        (r"\btype=(int|float)\b", "golden.arguments has types with limits"),
        (r"^from rich\.console import .*Console", "golden.terminal.Console reads no markup"),
        (r"json\.loads?\(.*(read_text|read_bytes|open)", "golden.reading.read_json refuses pipes"),
    ],
)
def test_what_reads_a_users_input_has_one_home(pattern: str, remedy: str) -> None:
    """Benches and tools' own files are no input of a user; hw/soc runs without our packages."""
    own = ("golden/", "docs/", "tb/benches/", "tb/exchange/", "hw/fpga/ecp5.py", "hw/soc/")
    found = [
        str(file)
        for file in sources()
        if not str(file).startswith(own)
        and re.search(pattern, (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert found == [], remedy


def test_nothing_is_imported_from_a_command() -> None:
    """A command is a module that runs as a script: it parses arguments and prints."""
    trees = {module_of(file): ast.parse((ROOT / file).read_text()) for file in sources()}
    commands = {
        module
        for module, tree in trees.items()
        if module.endswith("__main__")
        or any(isinstance(node, ast.If) and "__name__" in ast.unparse(node) for node in tree.body)
    }
    assert len(commands) > 10
    imported = {
        f"{module} imports {name}"
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        if name in commands
    }
    assert imported == set()


def test_a_command_and_nothing_else_begins_with_what_reports_ctrl_c() -> None:
    """Only sys and a path may come before it, in a command that runs as a script."""
    for file in sources():
        text = (ROOT / file).read_text()
        is_command = re.search(r"^    (\w+\.)?run_(cli|parallel)\(main\)$", text, re.MULTILINE)
        imports = [
            node.names[0].name if isinstance(node, ast.Import) else node.module
            for node in ast.parse(text).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        before = {"__future__", "sys", "pathlib"}
        first = next((name for name in imports if name not in before), None)
        assert (first == "golden.command") == (is_command is not None), file
        assert is_command or "golden.command" not in imports, file


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().split()}
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {name.partition("=")[0].partition(">")[0] for names in lists for name in names}
    assert {name for name in wanted if not name.startswith("zapcore[")} <= pinned


def test_pins_are_a_name_and_an_exact_version() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name.replace("-", "").replace("_", "").isalnum(), line
        assert version.replace(".", "").isalnum(), line  # no `+cpu`, no address
