"""The reference's generated texts say all that the code has."""

import re
from dataclasses import fields

import pytest

from docs._extensions import reference_text
from hw.contract.config import PRESETS, Config
from hw.contract.program import descriptor_words, header_words
from hw.contract.registers import REGISTERS
from tests.docs.pages import PAGES, ROOT, page

COMMANDS = page("docs/reference/commands.md")


def test_every_generated_text_has_a_place() -> None:
    named = [
        block.language.split()[-1]
        for one in PAGES
        for block in one.blocks
        if block.language.startswith("{generated}")
    ]
    assert sorted(named) == sorted(reference_text.GENERATED)


@pytest.mark.parametrize("name", reference_text.GENERATED)
def test_generated_tables_are_tables(name: str) -> None:
    lines = reference_text.GENERATED[name]().splitlines()
    widths: set[int] = set()
    for line in [*lines, ""]:
        if line.startswith("|"):
            widths.add(line.replace(r"\|", "").count("|"))
        else:
            assert len(widths) <= 1, line
            widths.clear()


def test_registers_are_all_there() -> None:
    text = reference_text.registers()
    assert all(f"| {name} |" in text for name in REGISTERS)


def test_words_are_all_there() -> None:
    config = PRESETS["small"]
    header, descriptor = reference_text.program_header(), reference_text.program_descriptor()
    assert all(f"| `{name}` |" in header for name in header_words(config))
    assert all(f"| `{name}` |" in descriptor for name in descriptor_words(config))


def test_fields_of_a_configuration_are_all_there() -> None:
    text = reference_text.configuration()
    assert all(f"| `{field.name}` |" in text for field in fields(Config))


def test_commands_are_all_there_with_their_options() -> None:
    text = reference_text.commands()
    modules = reference_text.command_modules()
    assert len(modules) > 10
    for module in modules:
        assert f"## {reference_text.invocation(module)}\n" in text
    assert "| `--max-drop` |" in text


def test_make_targets_are_all_there() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {match[1] for code in COMMANDS.code if (match := re.match(r"make ([a-z-]+)", code))}
    assert sorted(set(targets)) == sorted(named)


def test_each_package_has_a_page_for_its_modules() -> None:
    packages = [
        block.language.split()[-1]
        for one in PAGES
        for block in one.blocks
        if block.language.startswith("{api}")
    ]
    assert sorted(packages) == ["compiler", "golden", "hw", "quant"]
    assert all(len(reference_text.modules(package)) > 5 for package in packages)
