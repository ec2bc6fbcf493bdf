"""Files of users are read whole, or refused in one line that names them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from golden.errors import UserError
from golden.reading import check_readable, read_bytes, read_json


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b'{"a": "\xc3\xa9"}')
    check_readable(tmp_path / "file")
    assert read_json(tmp_path / "file") == {"a": "é"}
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_bytes(tmp_path / "link") == b'{"a": "\xc3\xa9"}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "Exceeds the limit"),
        (b'{"a": 1', "Expecting"),
        (b"\xff", "codec can't decode"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=f"file: not readable as JSON: .*{reason}|{reason}$"):
        read_json(tmp_path / "file")


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(UserError) as caught:
            read_bytes(file)
        assert str(caught.value) == f"{file}: not readable: it is no regular file"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "not found; make it"),
        ("x" * 300, "not readable: File name too long"),
        ("a\0b", "not readable: a path holds no NUL"),
        ("file/a", "not readable: Not a directory"),
    ],
)
def test_paths_that_cannot_be_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        read_bytes(tmp_path / name, "make it")
    assert str(caught.value) == f"{tmp_path / name}: {reason}"
