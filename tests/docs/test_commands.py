"""Commands and code in the documentation can be typed as they stand."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from docs._extensions import reference_text
from tests.docs.pages import PAGES, ROOT, Block, Page, page

_OTHERS = (
    *("source", "git", "cp", "pip", "pre-commit"),
    *("openFPGALoader", "build/litex/bin/litex_term"),
)
"""Programs that are not of this project."""
_SLOW = ("demo", "sim", "soc-sim", "bitstream", "fpga", "setup", "bench-explore", "test", "docs")
"""Targets of tutorials that tests of their own run, or that take many minutes."""
_TUTORIALS = [name for one in PAGES if (name := one.name).startswith("docs/tutorials/")]


def _commands() -> list[tuple[Page, list[str]]]:
    return [(one, words) for one in PAGES for block in one.blocks for words in block.commands]


@pytest.mark.parametrize(
    ("one", "words"), _commands(), ids=lambda x: " ".join(x) if isinstance(x, list) else x.name
)
def test_commands_can_be_typed(one: Page, words: list[str]) -> None:
    program, *arguments = words
    if program == "make":
        _check_make(arguments)
    elif program in ("python", "torchrun"):
        module, options = _module(arguments)
        reference_text.parser(module).parse_args(options)
    else:
        assert program in _OTHERS, program


def test_commands_are_in_blocks_that_say_so() -> None:
    for one in PAGES:
        for block in one.blocks:
            is_typed = re.match(r"(\$ |make |python |torchrun )", block.text)
            assert not is_typed or block.language in ("bash", "console"), (one, block.line)
            if block.language == "console":
                assert block.commands, (one, block.line)


@pytest.mark.parametrize("one", PAGES, ids=repr)
def test_python_compiles(one: Page) -> None:
    for block in _blocks(one, "python"):
        compile(block.text, f"{one}:{block.line}", "exec")


@pytest.mark.parametrize("one", PAGES, ids=repr)
def test_json_parses(one: Page) -> None:
    for block in _blocks(one, "json"):
        json.loads(block.text)


def test_python_with_an_output_prints_it() -> None:
    """A block of text that follows a block of Python is what that prints."""
    seen = 0
    for one in PAGES:
        for code, output in zip(one.blocks, one.blocks[1:]):
            if (code.language, output.language) == ("python", "text"):
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(code.text, f"{one}:{code.line}", "exec"), {})
                assert printed.getvalue() == output.text
                seen += 1
    assert seen


@pytest.mark.second
def test_a_walk_through_the_tutorials(tmp_path: Path) -> None:
    """Every command of the tutorials runs, in their order, and then their Python does."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name != "build":
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "build").mkdir()
    _run(["quant/export.py", "--out", "build/digits"], tmp_path)
    (block,) = _blocks(page("docs/tutorials/fpga-engineer.md"), "json")
    (tmp_path / "build/mine.json").write_text(block.text)
    ran = set()
    for name in _TUTORIALS:
        for block in page(name).blocks:
            if block.language != "console":
                continue
            for words in block.commands:
                for command in _commands_of(words, tmp_path):
                    if tuple(command) not in ran:
                        _run(command, tmp_path)
                    ran.add(tuple(command))
    assert len(ran) > 8
    for name in _TUTORIALS:
        for block in _blocks(page(name), "python"):
            _run(["-c", block.text], tmp_path)


def _blocks(one: Page, language: str) -> list[Block]:
    return [block for block in one.blocks if block.language == language]


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if equals:
            assert re.search(rf"\$[({{]?{name}\b|{name}\)", makefile), f"no variable {name}"
        else:
            assert re.search(rf"^{re.escape(name)}:", makefile, re.MULTILINE), f"no target {name}"


def _module(arguments: list[str]) -> tuple[str, list[str]]:
    """The module that Python is told to run, and its options."""
    if "-m" in arguments:
        at = arguments.index("-m")
        module = arguments[at + 1]
        if (ROOT / module.replace(".", "/") / "__main__.py").exists():
            module += ".__main__"
        return module, arguments[at + 2 :]
    script, *options = arguments
    assert (ROOT / script).exists(), script
    return script.removesuffix(".py").replace("/", "."), options


def _commands_of(words: list[str], folder: Path) -> list[list[str]]:
    """Return what a command of a tutorial tells Python to do: make's part is asked of make."""
    if words[0] == "python":
        return [words[1:]]
    if words[0] != "make" or words[1] in _SLOW:
        return []
    printed = subprocess.run(
        [*words, "--dry-run"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    python = ".venv/bin/python"
    lines = printed.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith(f"{python} -m ")]
    foreign = ("pip", "venv")
    found = [command for command in commands if command[1] not in foreign]
    assert found, f"{words} runs nothing"
    return found


def _run(arguments: list[str], folder: Path) -> None:
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, f"{arguments}\n{process.stdout}\n{process.stderr}"
