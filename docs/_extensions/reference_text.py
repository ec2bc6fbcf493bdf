"""The reference's tables as Markdown, written from the code that they describe.

Each function returns the text for one place in `docs/reference`. Nothing here needs Sphinx, so
`tests/docs` checks the same text that the site shows.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

__all__ = ["GENERATED", "command_modules", "invocation", "modules", "parser"]

ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = ("quant", "compiler", "hw", "tb", "bench", "examples")
"""Those that hold commands, in the order in which the reference lists them."""
_COLUMNS = "88"
"""Width that argparse wraps usage texts to."""


class _Stop(Exception):
    """Carries a parser out of a command that was about to read its options."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def command_modules() -> list[str]:
    """The modules that are run from the command line: those that make an argument parser."""
    names = []
    for package in _PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            text = file.read_text()
            if " = Parser(" in text and '__name__ == "__main__"' in text:
                names.append(".".join(file.relative_to(ROOT).with_suffix("").parts))
    return names


def parser(module: str) -> argparse.ArgumentParser:
    """The argument parser of a command, as the command itself makes it."""

    def stop(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Stop(self)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            importlib.import_module(module).main()
        except _Stop as stopped:
            return stopped.parser
    raise AssertionError(f"{module} reads no options")


def commands() -> str:
    """Every command with its usage and its options."""
    parts = []
    for module in command_modules():
        command = parser(module)
        name = invocation(module)
        summary = _paragraph(inspect.getdoc(importlib.import_module(module)) or "")
        with mock.patch.dict(os.environ, COLUMNS=_COLUMNS):
            command.prog = name
            usage = command.format_usage().removeprefix("usage: ").rstrip()
        rows = [
            (_option(action), _help(action)) for action in command._actions if action.dest != "help"
        ]
        parts += [f"### {name}", summary, f"```text\n{usage}\n```"]
        if rows:
            parts.append(_table(("option", "meaning"), rows))
    return "\n\n".join(parts)


def invocation(module: str) -> str:
    """Return what is typed to run a command."""
    if module == "quant.export":
        return "python quant/export.py"
    return f"python -m {module.removesuffix('.__main__')}"


def configuration() -> str:
    """The fields of a configuration, with the values that the presets give them."""
    from hw.contract.config import PRESETS, Config

    texts = _parameters(inspect.getdoc(Config) or "")
    rows = []
    for field in fields(Config):
        kind, meaning = texts[field.name]
        values = [str(getattr(preset, field.name)).lower() for preset in PRESETS.values()]
        rows.append((f"`{field.name}`", kind, *values, meaning))
    return _table(("field", "values", *(f"`{name}`" for name in PRESETS), "meaning"), rows)


def proofs() -> str:
    """The properties of the hardware, and what is proved of each."""
    from golden.reading import read_json

    parts = []
    rows = read_json(ROOT / "docs/results/proofs.json")
    for component, sizes in dict.fromkeys((row["component"], row["sizes"]) for row in rows):
        mine = [row for row in rows if (row["component"], row["sizes"]) == (component, sizes)]
        cells = [(row["property"], row["result"], str(row["seconds"])) for row in mine]
        table = _table(("property", "result", "seconds"), cells)
        parts += [f"**{component}**: {sizes}", table]
    return "\n\n".join(parts)


def registers() -> str:
    """The table of registers, as `make verilog` writes it."""
    from hw.contract import registers as description

    return description.markdown().split("\n", 2)[2].strip()


def program_header() -> str:
    """The words of a program's header."""
    from hw.contract import program

    return _words(program.header_words)


def program_descriptor() -> str:
    """The words of a tile's descriptor."""
    from hw.contract import program

    return _words(program.descriptor_words)


def _file_words(table: str) -> Callable[[], str]:
    """Return a function that writes a table of the words of a program's file."""

    def text() -> str:
        from hw.contract import program_file

        words = getattr(program_file, table).items()
        rows = [(str(4 * n), f"`{name}`", meaning) for n, (name, meaning) in enumerate(words)]
        return _table(("offset", "name", "meaning"), rows)

    return text


def bundle() -> str:
    """The objects of a bundle's manifest, field by field."""
    from golden import manifest

    tree = ast.parse(inspect.getsource(manifest))
    parts = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        parts += [f"### {node.name}", _prose(ast.get_docstring(node) or "")]
        rows = []
        for index, item in enumerate(node.body):
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
                continue
            after = node.body[index + 1] if index + 1 < len(node.body) else None
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = _prose(str(after.value.value))
            default = "" if item.value is None else f"`{ast.unparse(item.value)}`"
            rows.append((f"`{item.target.id}`", f"`{ast.unparse(item.annotation)}`", default, text))
        parts.append(_table(("field", "type", "default", "meaning"), rows))
    return "\n\n".join(parts)


def modules(package: str) -> list[str]:
    """The modules of a package that hand names to others, in the order of their paths."""
    names = []
    for file in sorted((ROOT / package).rglob("*.py")):
        text = file.read_text()
        if file.stem != "__main__" and re.search(r"^__all__ = ", text, re.MULTILINE):
            parts = file.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(part for part in parts if part != "__init__"))
    return names


def pytorch_layers() -> str:
    """The functions of PyTorch that are lowered, and those refused for a reason of their own."""
    from quant.frontend.pytorch import export  # noqa: F401  (it registers the handlers)
    from quant.frontend.pytorch.nodes import HANDLERS, REASONS

    names = {target._schema.name.removeprefix("aten::") for target in HANDLERS}
    taken = {name for name in names if not name.startswith("_")}
    return _layers("lowered", taken | {"batch_norm"}, REASONS)


def onnx_layers() -> str:
    """The operators of ONNX that are lowered, and those refused for a reason of their own."""
    from quant.frontend.onnx import model  # noqa: F401  (it registers the handlers)
    from quant.frontend.onnx.nodes import HANDLERS
    from quant.frontend.onnx.operators import REASONS

    return _layers("lowered", HANDLERS, REASONS)


def brought_through() -> str:
    """The networks of other people that were taken all the way, from the committed results."""
    from bench.brought_networks import NETWORKS

    known = json.loads((ROOT / "docs/results/brought_through.json").read_text())
    rows = [_brought(name, known[name]) for name in NETWORKS if name in known]
    known_weights = "test images", "float", "int8", "int8 + ZAP", "MACs skipped"
    cycles = "core", "cycles, ZAP off", "ZAP on"
    sizes = "images", "convolutions", "with a ZAP", "int8, dB", "noisy images, dB"
    heads = "network", "source", *sizes, *known_weights, *cycles
    return _table(heads, rows)


def brought_commands() -> str:
    """Return the command that brings each of these networks along."""
    from bench.brought_networks import NETWORKS, Images

    rows = []
    for name, network in NETWORKS.items():
        words = network.export(Path("build") / name, Path("DATA"), Path("WEIGHTS"), "LIGHT")
        made = network.images
        images = made.command(Path("WEIGHTS")) if isinstance(made, Images) else []
        typed = (f"`python {' '.join(command)}`" if command else "" for command in (images, words))
        rows.append((f"`{name}`", *typed))
    return _table(("network", "images", "network and predictors"), rows)


def _brought(name: str, row: Mapping[str, Any]) -> list[str]:
    """A row of the table of networks."""

    def percent(field: str) -> str:
        return f"{row[field]:.2f} %" if row["trained"] and row["labelled"] else ""

    cycles = [f"{row[field]:,}" if field in row else "" for field in ("cycles_off", "cycles_on")]
    source = row["source"] if row["trained"] else f"{row['source']} (random weights)"
    return [
        f"`{name}`", source, row["input"], str(row["convolutions"]), str(row["zaps"]),
        f"{row['int8_sqnr']:.1f}", f"{row['noisy_images_sqnr']:.1f}",
        f"{row['test_images']:,}" if row["trained"] and row["labelled"] else "",
        *(percent(field) for field in ("float_top1", "int8_top1", "zap_top1")),
        f"{100 * row['mac_reduction']:.1f} %" if row["trained"] else "",
        row.get("config", ""), *cycles,
    ]  # fmt: skip


def _layers(taken: str, names: Iterable[str], refused: Mapping[str, str]) -> str:
    """A table of operations that are taken, and of those refused, by reason."""
    rows = [(taken, _listed(names))]
    for reason in dict.fromkeys(refused.values()):
        same = (name for name in refused if refused[name] == reason and not name.startswith("_"))
        rows.append((f"refused: {reason}", _listed(same)))
    return _table(("", "operations"), rows)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names, key=str.lower))


GENERATED = {
    "brought-commands": brought_commands,
    "brought-through": brought_through,
    "bundle": bundle,
    "commands": commands,
    "configuration": configuration,
    "onnx-layers": onnx_layers,
    "program-descriptor": program_descriptor,
    "program-file-header": _file_words("HEADER"),
    "program-file-point": _file_words("POINT"),
    "program-file-tensor": _file_words("TENSOR"),
    "program-header": program_header,
    "proofs": proofs,
    "pytorch-layers": pytorch_layers,
    "registers": registers,
}
"""Name in a `generated` directive -> what writes its text."""


def _words(table: Any) -> str:
    """The words of a table of the program, with the limits that each preset sets."""
    from hw.contract.config import PRESETS

    tables = [table(config) for config in PRESETS.values()]
    rows = []
    for number, name in enumerate(tables[0]):
        limits = [_limits(words[name]) for words in tables]
        multiples = {words[name].multiple for words in tables}
        multiple = "" if multiples == {1} else ", ".join(map(str, sorted(multiples)))
        rows.append((str(number), f"`{name}`", tables[0][name].text, *limits, multiple))
    heads = (f"accepted by `{name}`" for name in PRESETS)
    return _table(("word", "name", "meaning", *heads, "multiple of"), rows)


def _limits(word: Any) -> str:
    if word.low == word.high:
        return f"0x{word.low:X}" if word.low > 0xFFFF else str(word.low)
    high = f"0x{word.high:X}" if word.high > 0xFFFFFF else str(word.high)
    return f"{word.low} .. {high}"


def _option(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    return f"`{names}`"


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default))
    if action.choices is not None:
        choices = [str(choice) for choice in action.choices]
        shown = f"{choices[0]} to {choices[-1]}" if _numbers(choices) else ", ".join(choices)
        text = f"{text} ({shown})" if text else f"one of {shown}"
    if isinstance(action.default, str | int | Path) and not isinstance(action.default, bool):
        shown = str(action.default)
        if action.option_strings and shown not in text:
            text = f"{text}; default: {shown}" if text else f"default: {shown}"
    return re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"`\g<0>`", _cell(text))


def _numbers(texts: Sequence[str]) -> bool:
    return all(text.isdecimal() for text in texts)


def _parameters(docstring: str) -> dict[str, tuple[str, str]]:
    """The "Parameters" section of a docstring: name -> (kind, meaning)."""
    lines = docstring.split("Parameters\n----------\n", 1)[1].splitlines()
    found: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            head, _, kind = line.partition(" : ")
            names = [name.strip() for name in head.split(",")]
            found |= dict.fromkeys(names, (kind, ""))
        else:
            for name in names:
                kind, text = found[name]
                found[name] = (kind, f"{text} {line.strip()}".strip())
    return found


def _paragraph(docstring: str) -> str:
    """The first paragraph of a docstring on one line."""
    return _prose(docstring.split("\n\n", 1)[0])


def _prose(text: str) -> str:
    """A docstring as Markdown: its paragraphs each on one line."""
    paragraphs = textwrap.dedent(text).strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace(" | ", r" \| ").replace("<", "&lt;")
