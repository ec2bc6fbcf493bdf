"""Reads files that users name. What cannot be read is a UserError of one line that names the file.

Only regular files are read: a pipe or a device might never end.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from golden.errors import UserError

__all__ = ["check_readable", "parse_json", "read_bytes", "read_json"]


def check_readable(file: Path, remedy: str = "") -> None:
    """Raise UserError unless a file is a regular one that can be opened.

    `remedy` is what to do where there is no such file.
    """
    _open(file, remedy).close()


def read_bytes(file: Path, remedy: str = "") -> bytes:
    """Return the content of a file. Raises UserError as `check_readable` does."""
    with _open(file, remedy) as stream:
        try:
            return stream.read()
        except (OSError, MemoryError) as error:
            raise _unreadable(file, error) from None


def read_json(file: Path, remedy: str = "") -> Any:
    """Return what a JSON file holds. Raises UserError as `check_readable` does, or if it is none.

    No JSON are also numbers of thousands of digits, and thousands of nested lists.
    """
    return parse_json(read_bytes(file, remedy), file)


def parse_json(content: bytes, file: Path) -> Any:
    """Return what the content of a JSON file holds; see `read_json`."""
    try:
        return json.loads(content.decode())
    except ValueError as error:
        raise UserError(f"{file}: not readable as JSON: {error}") from None
    except RecursionError:
        raise UserError(f"{file}: not readable as JSON: nested too deeply") from None


def _open(file: Path, remedy: str) -> Any:
    """Open a regular file. Opening a pipe does not wait for somebody who writes to it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UserError(f"{file}: not found{remedy and '; '}{remedy}") from None
    except OSError as error:
        raise _unreadable(file, error) from None
    except ValueError:
        raise UserError(f"{file}: not readable: a path holds no NUL") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{file}: not readable: it is no regular file")
    return os.fdopen(descriptor, "rb")


def _unreadable(file: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(f"{file}: not readable: {reason}")
