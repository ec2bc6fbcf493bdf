"""The checksums of a bundle, by which damage is found: every flipped bit.

A bundle is a JSON text beside a file of data. The text begins with a version, a checksum of its own
and one of the data, each a SHA-256. The text's is computed with zeros in its own place.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from golden.errors import UserError

__all__ = ["CHECKSUM_FIELDS", "check_checksums", "with_checksums"]

CHECKSUM_FIELDS = ("checksum", "data_checksum")
"""Fields that are in the text alone, and in no object that is read from it."""

_OWN, _DATA = (
    re.compile(rb'(?<="%s": ")[0-9a-f]{64}(?=",)' % field.encode()) for field in CHECKSUM_FIELDS
)
_VERSION = re.compile(rb'version": \d+,\s*')
_ZEROS = b"0" * 64


def with_checksums(text: str, data: bytes) -> bytes:
    """Return a text that has no checksums yet with them."""
    fields = [f'"checksum": "{_ZEROS.decode()}"', f'"data_checksum": "{_digest(data).decode()}"']
    lines = "".join(f"{field},\n  " for field in fields).encode()
    blank = _VERSION.sub(lambda found: found[0] + lines, text.encode(), count=1)
    return _OWN.sub(_digest(blank), blank, count=1)


def check_checksums(file: Path, text: bytes, data_file: Path, data: bytes, remedy: str) -> None:
    """Raise UserError, naming the file, unless a text and its data are undamaged."""
    own, of_data = _OWN.search(text), _DATA.search(text)
    blank = _OWN.sub(_ZEROS, text, count=1)
    whole = own is not None and of_data is not None and own[0] == _digest(blank)
    if not whole or (of_data is not None and of_data[0] != _digest(data)):
        damaged = data_file if whole else file
        raise UserError(
            f"{damaged}: damaged: its checksum is wrong or missing, as if it were edited; {remedy}"
        )


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
