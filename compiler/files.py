"""A program on disk: `image.bin`, the bytes of its memory, and `layout.json`, all the rest."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from compiler.program import Program, ProgramLayer
from compiler.tensors import Place
from golden.errors import UserError
from hw.contract.config import Config
from hw.contract.program import VERSION

__all__ = ["IMAGE", "LAYOUT", "load", "save"]

IMAGE = "image.bin"
LAYOUT = "layout.json"


def save(program: Program, folder: Path) -> None:
    """Write a program's folder, replacing an older one only once the new one is whole."""
    if folder.exists() and not (folder / LAYOUT).is_file():
        raise UserError(f"{folder}: exists and is not a program; choose another --out")
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
        "layers": [asdict(layer) for layer in program.layers],
        "tensors": {name: asdict(place) for name, place in program.tensors.items()},
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            (scratch / IMAGE).write_bytes(program.image)
            (scratch / LAYOUT).write_text(json.dumps(layout, indent=2) + "\n")
            scratch.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


def load(folder: Path) -> Program:
    """Read a program that `save` wrote."""
    file = folder / LAYOUT
    try:
        layout = json.loads(file.read_text())
        image = (folder / IMAGE).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; write it with python -m compiler") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not readable: {error}") from None
    if layout.get("version") != VERSION:
        raise UserError(f"{file}: not of version {VERSION}; compile the bundle again")
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
    )
