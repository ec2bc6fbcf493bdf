"""Writes a file or a folder whole or not at all; every command of the project writes with it.

New content is written under a temporary name beside its target and then renamed, so a reader never
sees half of it, and a failure leaves what was there before. A folder is replaced only if it is of
the same kind and holds nothing else: nothing of the user's is ever deleted.

A command calls a `check_...` function before it starts long work, so that a target that cannot be
written is reported at once. Every failure is a `UserError` of one line that names the path. Where
several processes do the same work, the caller decides which of them writes.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from golden.errors import UserError

__all__ = ["Content", "FolderKind", "check_writable_file", "write_file"]

Content = bytes | str | Callable[[BinaryIO], object]
"""A file's content: its bytes, its text (written as UTF-8), or a function that writes it."""


def check_writable_file(path: Path) -> None:
    """Raise UserError unless `write_file` could write this file now.

    Refused are a link, anything else that exists and is no regular file, and a file in a folder
    that cannot be created or written to. Missing parent folders are not an error: they are created
    when the file is written.
    """
    path = Path(path)
    with _user_errors(path):
        _refuse_link(path)
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: exists and is not a file; choose another name")
        _probe_parent(path)


def write_file(path: Path, content: Content) -> Path:
    """Write a file whole, replacing an older one; returns its path.

    Missing parent folders are created. Raises UserError as `check_writable_file` does, and where
    writing fails; then no temporary file stays.
    """
    path = Path(path)
    check_writable_file(path)
    with _user_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = _scratch(path)
        try:
            _write(scratch, content)
            os.replace(scratch, path)
        except BaseException:
            with suppress(FileNotFoundError):
                scratch.unlink()
            raise
    return path


@dataclass(frozen=True, kw_only=True)
class FolderKind:
    """A kind of folder that is written and replaced as a whole, such as a bundle.

    Parameters
    ----------
    name : str
        What an error message calls it.
    files : tuple of str
        The names of its files. A folder of this kind holds all of them and nothing else.
    is_ours : function of a folder
        Says whether the files of a folder that has exactly these names parse as this kind's. A
        UserError or a ValueError that it raises also means no.
    """

    name: str
    files: tuple[str, ...]
    is_ours: Callable[[Path], bool]

    def check_replaceable(self, path: Path) -> None:
        """Raise UserError unless `write` could write this folder now.

        A folder that exists must be empty, or be of this kind and hold nothing else. Refused are
        also a link, a file, and a place that cannot be written to.
        """
        path = Path(path)
        with _user_errors(path):
            _refuse_link(path)
            parent = _probe_parent(path)
            with _locked(parent):
                self._refuse_other(path)
            if path.exists():
                _probe(path)

    def write(self, path: Path, contents: Mapping[str, Content]) -> None:
        """Write the folder whole, replacing an older one of the same kind.

        `contents` has every file of this kind. Missing parent folders are created. Raises UserError
        as `check_replaceable` does, and where writing fails; then the older folder is as it was and
        no temporary folder stays.
        """
        assert contents.keys() == set(self.files)
        path = Path(path)
        self.check_replaceable(path)
        with _user_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = _scratch(path)
            scratch.mkdir()
            try:
                for name, content in contents.items():
                    _write(scratch / name, content)
                with _locked(path.absolute().parent):
                    self._refuse_other(path)
                    self._put(scratch, path)
            finally:
                self._delete(scratch)

    def _refuse_other(self, path: Path) -> None:
        if path.exists() and not self._holds(path):
            raise UserError(f"{path}: exists and is not a {self.name}; choose another --out")

    def _holds(self, path: Path) -> bool:
        """Say whether a path is a folder of this kind that holds nothing else, or an empty one."""
        if not path.is_dir():
            return False
        with os.scandir(path) as entries:
            regular = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
        if not regular:
            return True
        if regular.keys() != set(self.files) or not all(regular.values()):
            return False
        try:
            return self.is_ours(path)
        except (UserError, ValueError):
            return False

    def _put(self, scratch: Path, path: Path) -> None:
        """Give a finished folder its name. An older one is moved away first, and back on failure.

        `os.replace` replaces no folder that holds files.
        """
        if not path.exists():
            os.rename(scratch, path)
            return
        older = _scratch(path)
        os.rename(path, older)
        try:
            os.rename(scratch, path)
        except BaseException:
            os.rename(older, path)
            raise
        self._delete(older)

    def _delete(self, folder: Path) -> None:
        """Delete a folder and the files of this kind in it; one that holds more stays."""
        for name in self.files:
            with suppress(OSError):
                (folder / name).unlink()
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a UserError that names the path."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs from replacing what is in a folder, where its file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_link(path: Path) -> None:
    if "\0" in str(path):
        raise UserError(f"{str(path)!r}: cannot be written: a path holds no NUL")
    if path.is_symlink():
        raise UserError(f"{path}: is a link, which is not replaced; name its target")


def _probe_parent(path: Path) -> Path:
    """Return the nearest parent folder that exists. Raise unless a file can be created in it."""
    parent = path.absolute().parent
    while not parent.exists() and not parent.is_symlink():
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"{path}: cannot be written: {parent} is not a folder")
    _probe(parent)
    return parent


def _probe(folder: Path) -> None:
    """Raise OSError unless a file can be created in a folder. Permissions alone do not tell."""
    with tempfile.TemporaryFile(dir=folder):
        pass


def _scratch(path: Path) -> Path:
    """A new temporary name beside a path."""
    return path.absolute().parent / f".zapcore-{secrets.token_hex(8)}.new"


def _write(file: Path, content: Content) -> None:
    """Write a new file. It gets the permissions that any new file of this process has."""
    with file.open("xb") as stream:
        if isinstance(content, str):
            stream.write(content.encode(errors="backslashreplace"))
        elif isinstance(content, bytes):
            stream.write(content)
        else:
            try:
                content(stream)
            except RuntimeError as error:  # torch.save ends with one of its own on a full disk
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
