"""A program on disk: one file, of which `hw.contract.program_file` describes the layout.

A host needs no more than this file: the image, what its input must look like, where the outputs
lie, and the names of operating points, layers and classes. The file also holds details in JSON, by
which tools in Python compare a run with golden; the C driver does not read them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compiler.memory_layout import Place
from compiler.program import MOST_IMAGES, Program, ProgramLayer
from golden.errors import UserError
from golden.files import check_writable_file, write_file
from golden.reading import parse_json, read_bytes
from hw.contract.config import Config
from hw.contract.program import OFFSET_END, VERSION
from hw.contract.program_file import (
    FILE_VERSION,
    HEADER,
    INPUT,
    LEVELS,
    MAGIC,
    OUTPUT,
    POINT,
    TENSOR,
    checksum,
)
from hw.contract.system import MOST_CORES

__all__ = ["SUFFIX", "check_replaceable", "load", "save"]

SUFFIX = ".zap"
"""The end of the name of a program's file."""
_WORD = 4
_MOST_SIZE = 1 << 16
"""No tensor between layers has more channels, rows or columns."""
_PLAIN = (
    *("network", "end", "points", "counters", "input", "output", "other_outputs"),
    *("scales", "classes", "images", "cores", "core_bytes"),
)
"""Fields that the details have as the program has them."""


def save(program: Program, file: Path) -> None:
    """Write a program's file whole, replacing an older program and nothing else.

    Raises UserError as `check_replaceable` does.
    """
    check_replaceable(file)
    write_file(file, _bytes(program))


def load(file: Path) -> Program:
    """Read a program that `save` wrote. Raises UserError that names the file and what is wrong."""
    data = read_bytes(file, "write it with python -m compiler")
    if not _is_program(data):
        raise UserError(f"{file}: not a program; write one with python -m compiler")
    header = dict(zip(HEADER, struct.unpack_from(f"<{len(HEADER)}I", data), strict=True))
    for name, version in (("file_version", FILE_VERSION), ("program_version", VERSION)):
        if header[name] != version:
            raise UserError(
                f"{file}: {name} is {header[name]}, must be {version}; compile the bundle again"
            )
    if header["file_bytes"] != len(data):
        raise UserError(
            f"{file}: has {len(data):,} bytes, must have {header['file_bytes']:,}; copy it again"
        )
    if header["checksum"] != checksum(data):
        raise UserError(f"{file}: damaged, its checksum does not match; copy it again")
    first, size = header["image_offset"], header["image_bytes"]
    at = header["details_offset"]
    details = parse_json(data[at : at + header["details_bytes"]], file)
    return _program(file, details, data[first : first + size])


def check_replaceable(file: Path) -> None:
    """Raise UserError unless a program can be written to this file.

    A command calls it before long work. A file that exists must be a program, of any version.
    """
    check_writable_file(file)
    if file.exists():
        with file.open("rb") as stream:
            if not _is_program(stream.read(_WORD * len(HEADER))):
                raise UserError(f"{file}: exists and is not a program; choose another --out")


class _Writer:
    """Collects what follows a file's header; every part begins at a multiple of a word."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, part: bytes) -> int:
        """Add a part; returns its offset in the file."""
        offset = _WORD * len(HEADER) + len(self.data)
        self.data += part + bytes(-len(part) % _WORD)
        return offset

    def words(self, values: Sequence[int]) -> int:
        """Add a table of words."""
        return self.add(struct.pack(f"<{len(values)}I", *values))

    def name(self, text: str) -> int:
        """Add a string."""
        return self.add(text.encode() + b"\0")


def _bytes(program: Program) -> bytes:
    """The whole file."""
    body = _Writer()
    tiles = {point: sum(layer.tiles[point] for layer in program.layers) for point in program.points}
    points = [_row(POINT, name=body.name(point), tiles=tiles[point]) for point in program.points]
    tensors = [
        _tensor_row(body, program, name, kind)
        for kind, name in ((INPUT, program.input), *((OUTPUT, name) for name in program.outputs))
    ]
    layers = [body.name(layer.name) for layer in program.layers]
    classes = [body.name(name) for name in program.classes]
    details = json.dumps(_details(program)).encode()
    header = {
        "magic": MAGIC,
        "file_version": FILE_VERSION,
        "checksum": 0,
        "program_version": VERSION,
        "lanes": program.config.lanes,
        "group": program.config.group,
        "memory_bytes": program.end,
        "image_offset": body.add(program.image),
        "image_bytes": len(program.image),
        "network": body.name(program.network),
        "points_offset": body.words([word for row in points for word in row]),
        "points": len(points),
        "tensors_offset": body.words([word for row in tensors for word in row]),
        "tensors": len(tensors),
        "layers_offset": body.words(layers),
        "layers": len(layers),
        "classes_offset": body.words(classes),
        "classes": len(classes),
        "counters": program.counters,
        "images": program.images,
        "cores": program.cores,
        "core_bytes": program.core_bytes,
        "core_headers": program.headers(1),
        "details_offset": body.add(details),
        "details_bytes": len(details),
    }
    header["file_bytes"] = _WORD * len(HEADER) + len(body.data)
    header["checksum"] = checksum(_packed(header) + body.data)
    return _packed(header) + body.data


def _packed(header: Mapping[str, int]) -> bytes:
    """The bytes of a file's header."""
    return struct.pack(f"<{len(HEADER)}I", *_row(HEADER, **header))


def _row(words: Mapping[str, str], **values: int) -> list[int]:
    """The values in the order of a table's words."""
    assert values.keys() == words.keys()
    return [values[name] for name in words]


def _tensor_row(body: _Writer, program: Program, name: str, kind: int) -> list[int]:
    place = program.tensors[name]
    channels, height, width = place.shape
    return _row(
        TENSOR,
        name=body.name(name),
        kind=kind,
        address=place.address,
        bytes=place.size,
        channels=channels,
        height=height,
        width=width,
        is_signed=int(place.signed),
        scale=int(np.float32(program.scales[name]).view(np.uint32)),
        slots_offset=body.words(place.slots),
        levels_offset=body.add(program.levels) if kind == INPUT else 0,
        image_bytes=place.image_bytes,
        plane_bytes=place.plane_bytes,
        row_bytes=place.row_bytes,
    )


def _details(program: Program) -> dict[str, Any]:
    return {
        **{name: getattr(program, name) for name in _PLAIN},
        "config": program.config.to_dict(),
        "layers": [asdict(layer) for layer in program.layers],
        "tensors": {name: asdict(place) for name, place in program.tensors.items()},
        "levels": program.levels.hex(),
    }


def _program(file: Path, details: Any, image: bytes) -> Program:
    """The program that details and image describe. Raises UserError where they cannot be one's."""
    try:
        program = Program(
            config=Config(**details["config"]),
            image=image,
            layers=[ProgramLayer(**layer) for layer in details["layers"]],
            tensors={name: _place(place) for name, place in details["tensors"].items()},
            levels=bytes.fromhex(details["levels"]),
            **{name: details[name] for name in _PLAIN},
        )
        for problem in _problems(program):
            raise ValueError(problem)
    except (AttributeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{file}: damaged: {error}; compile the bundle again") from None
    return program


def _place(fields: dict[str, Any]) -> Place:
    """Make a tensor's place; JSON has lists where it has tuples."""
    lists = {name: fields[name] for name in ("shape", "parts")}
    if not all(isinstance(numbers, list) for numbers in lists.values()):
        raise TypeError("shape or parts are no list")
    tuples = {name: tuple(numbers) for name, numbers in lists.items()}
    return Place(**{**fields, **tuples})


def _problems(program: Program) -> Iterator[str]:
    """Name the fields of a program that has the right fields, but cannot be."""
    known = {*program.tensors, ""}
    cores, core_bytes = program.cores, program.core_bytes
    if not (_is_count(cores) and _is_count(core_bytes) and 1 <= cores <= MOST_CORES):
        yield "cores or core_bytes are none"
        return
    end = program.end
    end_of_first = end - (cores - 1) * core_bytes if _is_count(end) else end
    ends = {program.input, *program.outputs}
    names = [program.network, *ends, *program.points, *program.classes]
    if not all(isinstance(name, str) for name in names) or not program.points:
        yield "a name is no string"
    if not isinstance(program.classes, list) or not isinstance(program.points, list):
        yield "classes or points are no list"
    if not (_is_count(end) and len(program.image) <= end <= OFFSET_END):
        yield "end is no offset"
    if not (_is_count(program.counters) and program.counters <= end_of_first):
        yield "counters is no offset"
    if not ends <= program.tensors.keys():
        yield "input or output is no tensor"
    if program.scales.keys() != ends:
        yield "scales are not those of input and outputs"
    if not all(isinstance(scale, float) and scale > 0 for scale in program.scales.values()):
        yield "a scale is no number above 0"
    if not (_is_count(program.images) and 1 <= program.images <= MOST_IMAGES):
        yield f"images is no number from 1 to {MOST_IMAGES}"
    for name, place in program.tensors.items():
        numbers = (place.address, *place.shape, *place.parts, place.images)
        fits = all(map(_is_count, numbers)) and len(place.shape) == 3
        fits = fits and place.images == program.images and isinstance(place.beside, bool)
        fits = fits and min(place.shape) >= 1 and max(place.shape) <= _MOST_SIZE
        if not fits or place.group != program.config.group or not isinstance(place.signed, bool):
            yield f"tensor {name!r} has no such place"
        elif place.parts and (min(place.parts) < 1 or sum(place.parts) != place.shape[0]):
            yield f"tensor {name!r} has parts of other channels"
        elif not 0 <= place.address <= place.address + place.size <= end_of_first:
            yield f"tensor {name!r} lies outside the program"
    if len(program.levels) != LEVELS * program.tensors[program.input].shape[0]:
        yield "levels are not those of the input's channels"
    for layer in program.layers:
        numbers = (layer.macs, layer.ifm_words, layer.kernel_words, layer.pixels)
        fits = all(map(_is_count, (*numbers, *layer.tiles.values())))
        if not fits or layer.tiles.keys() != set(program.points):
            yield f"layer {layer.name!r} has no such counts"
        names = [layer.name, layer.input, layer.residual, layer.output]
        if not all(isinstance(name, str) for name in names) or not layer.input:
            yield f"layer {layer.name!r} has a name that is no string"
        elif not set(names[1:]) <= known:
            yield f"layer {layer.name!r} names no tensor"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _is_program(data: bytes) -> bool:
    """Say whether bytes begin as a program's file does, of any version."""
    return len(data) >= _WORD * len(HEADER) and data[:_WORD] == struct.pack("<I", MAGIC)
