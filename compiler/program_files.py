"""A program on disk: a folder with `image.bin`, the bytes of its memory, and `layout.json`.

`layout.json` has everything else: the configuration, the layers, and where each tensor lies.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compiler.memory_layout import Place
from compiler.program import Program, ProgramLayer
from golden.errors import UserError
from golden.files import FolderKind
from hw.contract.config import Config
from hw.contract.program import VERSION

__all__ = ["IMAGE", "LAYOUT", "check_replaceable", "load", "save"]

IMAGE = "image.bin"
LAYOUT = "layout.json"


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
    _FOLDER.write(folder, {IMAGE: program.image, LAYOUT: json.dumps(layout, indent=2) + "\n"})


def load(folder: Path) -> Program:
    """Read a program that `save` wrote. Raises UserError that names the file at fault."""
    file = folder / LAYOUT
    try:
        layout = json.loads(file.read_text())
        image = (folder / IMAGE).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; write it with python -m compiler") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not readable: {error}") from None
    if not _is_layout(layout):
        raise UserError(f"{file}: not the layout of a program; compile the bundle again")
    if layout["version"] != VERSION:
        raise UserError(f"{file}: not of version {VERSION}; compile the bundle again")
    try:
        return _program(layout, image)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: damaged: {error!r}; compile the bundle again") from None


def check_replaceable(folder: Path) -> None:
    """Raise UserError unless a program can be written to this folder.

    A command calls it before long work. A folder that exists must be a program, of any version, and
    hold nothing else.
    """
    _FOLDER.check_replaceable(folder)


def _program(layout: dict[str, Any], image: bytes) -> Program:
    return Program(
        config=Config(**layout["config"]),
        network=layout["network"],
        base=layout["base"],
        image=image,
        end=layout["end"],
        points=layout["points"],
        counters=layout["counters"],
        layers=[ProgramLayer(**layer) for layer in layout["layers"]],
        tensors={
            name: Place(
                **{**place, "shape": tuple(place["shape"]), "parts": tuple(place.get("parts", ()))}
            )
            for name, place in layout["tensors"].items()
        },
        input=layout["input"],
        output=layout["output"],
        other_outputs=layout["other_outputs"],
    )


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
    layout = json.loads((folder / LAYOUT).read_text())
    if not _is_layout(layout):
        return False
    if layout["version"] == VERSION:
        load(folder)
    return True


_FOLDER = FolderKind(name="program", files=(IMAGE, LAYOUT), is_ours=_is_program)
