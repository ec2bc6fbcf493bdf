"""A program on disk: a folder with `image.bin`, the bytes of its memory, and `layout.json`.

`layout.json` has everything else: the configuration, the layers, and where each tensor lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compiler.memory_layout import Place
from compiler.program import Program, ProgramLayer
from golden.checksums import check_checksums, with_checksums
from golden.errors import UserError
from golden.files import FolderKind
from golden.reading import parse_json, read_bytes, read_json
from hw.contract.config import Config
from hw.contract.program import ADDRESS_END, VERSION

__all__ = ["IMAGE", "LAYOUT", "check_replaceable", "load", "save"]

IMAGE = "image.bin"
LAYOUT = "layout.json"
_MOST_SIZE = 1 << 16
"""No tensor between layers has more channels, rows or columns."""
_PLAIN = ("network", "base", "end", "points", "counters", "input", "output", "other_outputs")
"""Fields that the layout has as the program has them."""


def save(program: Program, folder: Path) -> None:
    """Write a program's folder whole, replacing an older program and nothing else.

    Raises UserError as `check_replaceable` does.
    """
    layout = {
        "version": VERSION,
        "network": program.network,
        "config": program.config.to_dict(),
        "base": program.base,
        "end": program.end,
        "points": program.points,
        "counters": program.counters,
        "input": program.input,
        "output": program.output,
        "other_outputs": program.other_outputs,
        "layers": [asdict(layer) for layer in program.layers],
        "tensors": {name: asdict(place) for name, place in program.tensors.items()},
    }
    text = with_checksums(json.dumps(layout, indent=2) + "\n", program.image)
    _FOLDER.write(folder, {IMAGE: program.image, LAYOUT: text})


def load(folder: Path) -> Program:
    """Read a program that `save` wrote. Raises UserError that names the file at fault."""
    file = folder / LAYOUT
    remedy = "write it with python -m compiler"
    text = read_bytes(file, remedy)
    layout = parse_json(text, file)
    image = read_bytes(folder / IMAGE, remedy)
    if not _is_layout(layout):
        raise UserError(f"{file}: not the layout of a program; compile the bundle again")
    if layout["version"] != VERSION:
        raise UserError(f"{file}: not of version {VERSION}; compile the bundle again")
    check_checksums(file, text, folder / IMAGE, image, "compile the bundle again")
    return _program(file, layout, image)


def check_replaceable(folder: Path) -> None:
    """Raise UserError unless a program can be written to this folder.

    A command calls it before long work. A folder that exists must be a program, of any version, and
    hold nothing else.
    """
    _FOLDER.check_replaceable(folder)


def _program(file: Path, layout: dict[str, Any], image: bytes) -> Program:
    """Make the program of a layout. Raises UserError where a field cannot be that of a program."""
    try:
        program = Program(
            config=Config(**layout["config"]),
            image=image,
            layers=[ProgramLayer(**layer) for layer in layout["layers"]],
            tensors={name: _place(place) for name, place in layout["tensors"].items()},
            **{name: layout[name] for name in _PLAIN},
        )
        for problem in _problems(program):
            raise ValueError(problem)
    except (AttributeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{file}: damaged: {error}; compile the bundle again") from None
    return program


def _place(fields: dict[str, Any]) -> Place:
    """Make a tensor's place; JSON has lists where it has tuples."""
    tuples = {name: tuple(fields[name]) for name in ("shape", "parts")}
    return Place(**{**fields, **tuples})


def _problems(program: Program) -> Iterator[str]:
    """Name the fields of a program that has the right fields, but cannot be."""
    known = {*program.tensors, ""}
    base, end = program.base, program.end
    outputs = [program.output, *program.other_outputs]
    names = [program.network, program.input, *outputs, *program.points]
    if not all(isinstance(name, str) for name in names) or not program.points:
        yield "a name is no string"
    if not (_is_count(base) and _is_count(end) and base + len(program.image) <= end <= ADDRESS_END):
        yield "base or end is no address"
    if not (_is_count(program.counters) and base <= program.counters <= end):
        yield "counters is no address"
    if not {program.input, program.output, *program.other_outputs} <= program.tensors.keys():
        yield "input or output is no tensor"
    for name, place in program.tensors.items():
        numbers = (place.address, *place.shape, *place.parts)
        fits = all(map(_is_count, numbers)) and len(place.shape) == 3
        fits = fits and min(place.shape) >= 1 and max(place.shape) <= _MOST_SIZE
        if not fits or place.group != program.config.group or not isinstance(place.signed, bool):
            yield f"tensor {name!r} has no such place"
        elif place.parts and sum(place.parts) != place.shape[0]:
            yield f"tensor {name!r} has parts of other channels"
        elif not base <= place.address <= place.address + place.size <= end:
            yield f"tensor {name!r} lies outside the program"
    for layer in program.layers:
        numbers = (layer.macs, layer.ifm_words, layer.kernel_words, layer.pixels)
        fits = all(map(_is_count, (*numbers, *layer.tiles.values())))
        if not fits or layer.tiles.keys() != set(program.points):
            yield f"layer {layer.name!r} has no such counts"
        if not {layer.input, layer.residual, layer.output} <= known or not layer.input:
            yield f"layer {layer.name!r} names no tensor"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _is_layout(document: object) -> bool:
    """Say whether a JSON document is the layout of a program, of this version or another."""
    names = {"version", "network", "config", "base", "layers", "tensors", "input", "output"}
    return (
        isinstance(document, dict)
        and names <= document.keys()
        and isinstance(document["version"], int)
    )


def _is_program(folder: Path) -> bool:
    """Say whether the files of a folder parse as a program's. Its version may be another one."""
    layout = read_json(folder / LAYOUT)
    if not _is_layout(layout):
        return False
    if layout["version"] == VERSION:
        _program(folder / LAYOUT, layout, read_bytes(folder / IMAGE))
    return True


_FOLDER = FolderKind(name="program", files=(IMAGE, LAYOUT), is_ours=_is_program)
