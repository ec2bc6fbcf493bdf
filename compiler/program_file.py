"""A program on disk: one file, of which `hw.contract.program_file` describes the layout.

A host needs no more than this file: the image, what its input must look like, where the outputs
lie, and the names of operating points, layers and classes. The file also holds details in JSON, by
which tools in Python compare a run with golden; the C driver does not read them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from compiler.memory_layout import Place
from compiler.program import Program, ProgramLayer
from golden.errors import UserError
from golden.files import check_writable_file, write_file
from hw.contract.config import Config
from hw.contract.program import VERSION
from hw.contract.program_file import (
    FILE_VERSION,
    HEADER,
    INPUT,
    MAGIC,
    OUTPUT,
    POINT,
    TENSOR,
    checksum,
)

__all__ = ["SUFFIX", "check_replaceable", "load", "save"]

SUFFIX = ".zap"
"""What the name of a program's file ends with."""
_WORD = 4


def save(program: Program, file: Path) -> None:
    """Write a program's file whole, replacing an older program and nothing else.

    Raises UserError as `check_replaceable` does.
    """
    check_replaceable(file)
    write_file(file, _bytes(program))


def load(file: Path) -> Program:
    """Read a program that `save` wrote. Raises UserError that names the file and what is wrong."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file}: not found; write it with python -m compiler") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
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
    try:
        details = json.loads(data[at : at + header["details_bytes"]])
        return _program(details, data[first : first + size])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file}: its details are not those of a program: {error!r}; compile the bundle again"
        ) from None


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
        for kind, name in ((INPUT, program.input), (OUTPUT, program.output))
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
        "details_offset": body.add(details),
        "details_bytes": len(details),
    }
    header["file_bytes"] = _WORD * len(HEADER) + len(body.data)
    plain = struct.pack(f"<{len(HEADER)}I", *_row(HEADER, **header)) + body.data
    header["checksum"] = checksum(plain)
    return struct.pack(f"<{len(HEADER)}I", *_row(HEADER, **header)) + body.data


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
    )


def _details(program: Program) -> dict[str, Any]:
    return {
        "network": program.network,
        "config": program.config.to_dict(),
        "end": program.end,
        "points": program.points,
        "counters": program.counters,
        "input": program.input,
        "output": program.output,
        "layers": [asdict(layer) for layer in program.layers],
        "tensors": {name: asdict(place) for name, place in program.tensors.items()},
        "scales": program.scales,
        "levels": program.levels.hex(),
        "classes": program.classes,
    }


def _program(details: Any, image: bytes) -> Program:
    """The program that details and image describe. Raises ValueError, KeyError or TypeError."""
    document = _of_type(details, dict)
    program = Program(
        config=Config(**_of_type(document["config"], dict)),
        network=_of_type(document["network"], str),
        image=image,
        end=_size(document["end"]),
        points=[_of_type(name, str) for name in _of_type(document["points"], list)],
        counters=_size(document["counters"]),
        layers=[_layer(layer) for layer in _of_type(document["layers"], list)],
        tensors={
            name: _place(place) for name, place in _of_type(document["tensors"], dict).items()
        },
        input=_of_type(document["input"], str),
        output=_of_type(document["output"], str),
        scales={
            name: _of_type(scale, float)
            for name, scale in _of_type(document["scales"], dict).items()
        },
        levels=bytes.fromhex(_of_type(document["levels"], str)),
        classes=[_of_type(name, str) for name in _of_type(document["classes"], list)],
    )
    names = {name for layer in program.layers for name in layer.ends}
    for name in {program.input, program.output, *names}:
        if name not in program.tensors:
            raise ValueError(f"there is no tensor {name!r}")
    for name, place in program.tensors.items():
        if place.address + place.size > program.end:
            raise ValueError(f"tensor {name!r} ends beyond {program.end}")
    for layer in program.layers:
        if layer.tiles.keys() != set(program.points):
            raise ValueError(f"layer {layer.name!r} has other operating points than the program")
    return program


def _layer(document: Any) -> ProgramLayer:
    layer = _record(ProgramLayer, document)
    counts = {"macs", "ifm_words", "kernel_words", "pixels"}
    for field in fields(ProgramLayer):
        value = layer[field.name]
        if field.name == "tiles":
            _of_type(value, dict)
            for count in value.values():
                _size(count)
        elif field.name in counts:
            _size(value)
        else:
            _of_type(value, str)
    return ProgramLayer(**layer)


def _place(document: Any) -> Place:
    place = _record(Place, document)
    shape = tuple(_size(size) for size in _of_type(place["shape"], list))
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"a tensor cannot have shape {shape}")
    parts = tuple(_size(size) for size in _of_type(place["parts"], list))
    if parts and (min(parts) < 1 or sum(parts) != shape[0]):
        raise ValueError(f"parts {parts} are not {shape[0]} channels")
    group = _size(place["group"])
    if group < 1:
        raise ValueError(f"a group cannot have {group} channels")
    return Place(_size(place["address"]), shape, group, _of_type(place["signed"], bool), parts)


def _record(kind: type[Any], document: Any) -> dict[str, Any]:
    """The fields of a dataclass from JSON: all of them and no others."""
    record = _of_type(document, dict)
    names = {field.name for field in fields(kind)}
    if record.keys() != names:
        raise ValueError(f"{kind.__name__} has fields {sorted(record)}, must have {sorted(names)}")
    return record


def _of_type(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.40} must be of type {kind.__name__}")
    return value


def _size(value: Any) -> int:
    """A count or an offset of 32 bits, except MACs, which may be more."""
    number: int = _of_type(value, int)
    if not 0 <= number < 1 << 63:
        raise ValueError(f"{number} is no count or offset")
    return number


def _is_program(data: bytes) -> bool:
    """Say whether bytes begin as a program's file does, of any version."""
    return len(data) >= _WORD * len(HEADER) and data[:_WORD] == struct.pack("<I", MAGIC)
