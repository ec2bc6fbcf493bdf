"""Edits of a program's file, under a checksum that is right."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from hw.contract.program_file import HEADER, checksum

__all__ = ["details_of", "sealed", "with_details", "words_at"]


def words_at(data: bytes, offset: int, words: Mapping[str, str]) -> dict[str, int]:
    """A table of words as C reads it."""
    return dict(zip(words, struct.unpack_from(f"<{len(words)}I", data, offset), strict=True))


def details_of(data: bytes) -> Any:
    """The details of a file, which are JSON."""
    header = words_at(data, 0, HEADER)
    return json.loads(data[header["details_offset"] :][: header["details_bytes"]])


def sealed(data: bytes) -> bytes:
    """The file with a checksum that is right."""
    at = 4 * list(HEADER).index("checksum")
    return data[:at] + struct.pack("<I", checksum(data)) + data[at + 4 :]


def with_details(data: bytes, document: Any) -> bytes:
    """The file with other details, and a checksum that is right."""
    header = words_at(data, 0, HEADER)
    text = json.dumps(document).encode()
    data = data[: header["details_offset"]] + text
    header |= {"details_bytes": len(text), "file_bytes": len(data)}
    return sealed(struct.pack(f"<{len(HEADER)}I", *header.values()) + data[4 * len(HEADER) :])
