"""Files and folders are written whole or not at all, and nothing of the user's is replaced."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from golden.errors import UserError
from golden.files import Content, FolderKind, check_writable_file, write_file
from quant.runtime.outputs import write_tensors

NOBODY = 65534
"""A user ID without rights, for tests that run as root."""

KIND = FolderKind(
    name="letter",
    files=("head", "body"),
    is_ours=lambda folder: (folder / "head").read_text().startswith("Dear"),
)
LETTER: dict[str, Content] = {"head": "Dear reader,", "body": b"\x00\xff"}
OTHER: dict[str, Content] = {"head": "Dear all,", "body": "hello"}


def names(folder: Path) -> list[str]:
    """Names in a folder, temporary ones included."""
    return sorted(os.listdir(folder))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def _skip_if_closed(folder: Path) -> None:
    try:
        os.listdir(folder)
    except PermissionError:
        pytest.skip("the folder for temporary files is closed to other users")


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that this process, root or not, cannot write to; a file and a letter are in it."""
    folder = Path(tempfile.mkdtemp(prefix="zapcore-test-"))
    (folder / "file").write_text("old")
    KIND.write(folder / "letter", LETTER)
    root = os.geteuid() == 0
    folder.chmod(0o555)
    if root:
        os.seteuid(NOBODY)
    try:
        _skip_if_closed(folder)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


# Files.


def test_a_file_gets_its_bytes_its_text_or_what_a_function_writes(tmp_path: Path) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(b"by ")
        stream.write(b"itself")

    assert write_file(tmp_path / "bytes", b"\x00\xff") == tmp_path / "bytes"
    write_file(tmp_path / "text", "Größe\n")
    write_file(tmp_path / "function", write)
    assert contents(tmp_path) == {
        "bytes": b"\x00\xff",
        "function": b"by itself",
        "text": "Größe\n".encode(),
    }


def test_a_file_replaces_an_older_one_and_missing_parents_are_made(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file"
    check_writable_file(file)
    assert not (tmp_path / "a").exists()
    write_file(file, "old")
    check_writable_file(file)
    assert file.read_text() == "old"
    write_file(file, "new")
    assert contents(file.parent) == {"file": b"new"}


def test_a_relative_name_is_written_where_the_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_file(Path("file"), "text")
    KIND.write(Path("letter"), LETTER)
    KIND.write(Path("letter"), OTHER)
    assert names(tmp_path) == ["file", "letter"]


def test_files_and_folders_get_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_file(tmp_path / "file", "text")
        KIND.write(tmp_path / "letter", LETTER)
    finally:
        os.umask(old)
    modes = [tmp_path / "file", tmp_path / "letter", tmp_path / "letter" / "head"]
    assert [path.stat().st_mode & 0o777 for path in modes] == [0o640, 0o750, 0o640]


def a_folder(folder: Path) -> str:
    (folder / "target").mkdir()
    return "exists and is not a file; choose another name"


def a_link(folder: Path) -> str:
    (folder / "elsewhere").write_text("precious")
    (folder / "target").symlink_to(folder / "elsewhere")
    return "is a link, which is not replaced; name its target"


def a_link_to_nothing(folder: Path) -> str:
    (folder / "target").symlink_to(folder / "absent")
    return "is a link, which is not replaced; name its target"


def a_link_to_a_folder(folder: Path) -> str:
    KIND.write(folder / "elsewhere", LETTER)
    (folder / "target").symlink_to(folder / "elsewhere")
    return "is a link, which is not replaced; name its target"


def a_fifo(folder: Path) -> str:
    os.mkfifo(folder / "target")
    return "exists and is not a file; choose another name"


@pytest.mark.parametrize(
    "prepare", [a_folder, a_link, a_link_to_nothing, a_link_to_a_folder, a_fifo]
)
def test_a_file_in_place_of_something_else_is_refused(
    prepare: Callable[[Path], str], tmp_path: Path
) -> None:
    message = prepare(tmp_path)
    before = names(tmp_path)
    for refused in (check_writable_file, lambda path: write_file(path, "text")):
        with pytest.raises(UserError) as caught:
            refused(tmp_path / "target")
        assert str(caught.value) == f"{tmp_path / 'target'}: {message}"
    assert names(tmp_path) == before


def test_a_file_below_a_file_or_a_broken_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for parent in ("file", "link"):
        target = tmp_path / parent / "a" / "target"
        for refused in (
            check_writable_file,
            KIND.check_replaceable,
            lambda path: write_file(path, "text"),
            lambda path: KIND.write(path, LETTER),
        ):
            with pytest.raises(UserError) as caught:
                refused(target)
            message = f"{target}: cannot be written: {tmp_path / parent} is not a folder"
            assert str(caught.value) == message
    assert names(tmp_path) == ["file", "link"]
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["file", "new", "a/b/new"])
def test_a_file_in_a_folder_without_permission_is_refused(read_only: Path, name: str) -> None:
    for refused in (check_writable_file, lambda path: write_file(path, "text")):
        with pytest.raises(UserError) as caught:
            refused(read_only / name)
        message = f"{read_only / name}: cannot be written: Permission denied"
        assert str(caught.value) == message
    assert names(read_only) == ["file", "letter"]
    assert (read_only / "file").read_text() == "old"


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    for refused in (check_writable_file, KIND.check_replaceable):
        with pytest.raises(UserError, match="cannot be written: File name too long"):
            refused(tmp_path / ("x" * 300))
    longest = "x" * 255
    write_file(tmp_path / longest, "text")
    assert names(tmp_path) == [longest]


def failing(error: BaseException) -> Callable[[BinaryIO], None]:
    """A function that writes half of a file and fails."""

    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    return write


def test_a_file_that_fails_midway_leaves_the_older_one(tmp_path: Path) -> None:
    file = write_file(tmp_path / "file", "old")
    full = OSError(28, "No space left on device")
    with pytest.raises(UserError) as caught:
        write_file(file, failing(full))
    assert str(caught.value) == f"{file}: cannot be written: No space left on device"
    for error in (ValueError("a bug"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_file(file, failing(error))
    assert contents(tmp_path) == {"file": b"old"}


def test_a_file_that_cannot_be_renamed_leaves_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(*_: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UserError, match="cannot be written: Invalid cross-device link"):
        write_file(tmp_path / "file", "text")
    assert names(tmp_path) == []


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".zapcore-0.new").mkdir()
    (tmp_path / ".zapcore-1.new").write_text("half")
    KIND.write(tmp_path / "letter", LETTER)
    KIND.write(tmp_path / "letter", OTHER)
    write_file(tmp_path / "file", "text")
    assert names(tmp_path) == [".zapcore-0.new", ".zapcore-1.new", "file", "letter"]


# Folders.


def test_a_folder_replaces_one_of_its_kind_and_missing_parents_are_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "letter"
    KIND.check_replaceable(folder)
    assert not (tmp_path / "a").exists()
    KIND.write(folder, LETTER)
    assert contents(folder) == {"head": b"Dear reader,", "body": b"\x00\xff"}
    KIND.check_replaceable(folder)
    KIND.write(folder, OTHER)
    assert contents(folder) == {"head": b"Dear all,", "body": b"hello"}
    assert names(folder.parent) == ["letter"]


def refuses(folder: Path, message: str) -> None:
    """A folder is not replaced, and stays as it is to the byte."""

    def everything() -> dict[str, bytes | str]:
        return {
            str(path): os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else "folder"
            for path in sorted([folder, *folder.parent.rglob("*")])
        }

    before = everything()
    for refused in (KIND.check_replaceable, lambda path: KIND.write(path, LETTER)):
        with pytest.raises(UserError) as caught:
            refused(folder)
        assert str(caught.value) == f"{folder}: {message}"
    assert everything() == before


FOREIGN = "exists and is not a letter; choose another --out"


def lacks_a_file(folder: Path) -> None:
    (folder / "body").unlink()


def holds_more(folder: Path) -> None:
    (folder / "notes").write_text("precious")


def holds_a_hidden_file(folder: Path) -> None:
    (folder / ".git").write_text("precious")


def holds_a_folder(folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "one").write_text("precious")


def holds_a_folder_of_the_name(folder: Path) -> None:
    (folder / "body").unlink()
    (folder / "body").mkdir()


def holds_a_link_of_the_name(folder: Path) -> None:
    (folder / "body").rename(folder.parent / "body")
    (folder / "body").symlink_to(folder.parent / "body")


def does_not_parse(folder: Path) -> None:
    (folder / "head").write_text("precious")


def is_not_even_text(folder: Path) -> None:
    (folder / "head").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    "change",
    [
        lacks_a_file,
        holds_more,
        holds_a_hidden_file,
        holds_a_folder,
        holds_a_folder_of_the_name,
        holds_a_link_of_the_name,
        does_not_parse,
        is_not_even_text,
    ],
)
def test_a_folder_that_is_not_wholly_ours_is_not_replaced(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    KIND.write(tmp_path / "target", LETTER)
    change(tmp_path / "target")
    refuses(tmp_path / "target", FOREIGN)


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    KIND.check_replaceable(tmp_path / "target")
    KIND.write(tmp_path / "target", LETTER)
    assert names(tmp_path / "target") == sorted(LETTER)
    assert names(tmp_path) == ["target"]


def test_a_file_and_links_are_no_folders(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    refuses(tmp_path / "target", FOREIGN)
    (tmp_path / "target").unlink()
    a_link_to_a_folder(tmp_path)
    refuses(tmp_path / "target", "is a link, which is not replaced; name its target")
    (tmp_path / "target").unlink()
    a_link_to_nothing(tmp_path)
    refuses(tmp_path / "target", "is a link, which is not replaced; name its target")


def test_a_check_that_raises_says_no(tmp_path: Path) -> None:
    def refuse(_: Path) -> bool:
        raise UserError("damaged")

    KIND.write(tmp_path / "letter", LETTER)
    picky = FolderKind(name="letter", files=KIND.files, is_ours=refuse)
    with pytest.raises(UserError, match="exists and is not a letter"):
        picky.write(tmp_path / "letter", OTHER)


@pytest.mark.parametrize("name", ["letter", "new", "a/new"])
def test_a_folder_in_one_without_permission_is_refused(read_only: Path, name: str) -> None:
    for refused in (KIND.check_replaceable, lambda path: KIND.write(path, OTHER)):
        with pytest.raises(UserError) as caught:
            refused(read_only / name)
        assert str(caught.value).startswith(f"{read_only / name}: cannot be ")
    assert names(read_only) == ["file", "letter"]
    assert (read_only / "letter" / "head").read_text() == "Dear reader,"


def test_a_folder_whose_files_cannot_be_deleted_is_not_replaced() -> None:
    root = os.geteuid() == 0
    parent = Path(tempfile.mkdtemp(prefix="zapcore-test-"))
    KIND.write(parent / "letter", LETTER)
    (parent / "letter").chmod(0o555)
    parent.chmod(0o777)
    if root:
        os.seteuid(NOBODY)
    try:
        _skip_if_closed(parent)
        with pytest.raises(UserError, match="cannot be written: Permission denied"):
            KIND.write(parent / "letter", OTHER)
        assert names(parent) == ["letter"]
    finally:
        if root:
            os.seteuid(0)
        (parent / "letter").chmod(0o755)
        shutil.rmtree(parent)


def test_a_folder_that_fails_midway_leaves_the_older_one(tmp_path: Path) -> None:
    KIND.write(tmp_path / "letter", LETTER)
    before = contents(tmp_path / "letter")
    for error, raised in (
        (OSError(28, "No space left on device"), UserError),
        (ValueError("a bug"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):
        with pytest.raises(raised):
            KIND.write(tmp_path / "letter", {"head": "Dear all,", "body": failing(error)})
        with pytest.raises(raised):
            KIND.write(tmp_path / "new", {"head": "Dear all,", "body": failing(error)})
    assert names(tmp_path) == ["letter"]
    assert contents(tmp_path / "letter") == before


@pytest.mark.parametrize("failing_call", [0, 1])
def test_a_folder_that_cannot_be_renamed_leaves_the_older_one(
    failing_call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KIND.write(tmp_path / "letter", LETTER)
    rename, calls = os.rename, iter(range(10))

    def once(source: Path, target: Path) -> None:
        if next(calls) == failing_call:
            raise OSError(16, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(os, "rename", once)
    with pytest.raises(UserError, match="cannot be written: Device or resource busy"):
        KIND.write(tmp_path / "letter", OTHER)
    assert names(tmp_path) == ["letter"]
    assert (tmp_path / "letter" / "head").read_text() == "Dear reader,"


# Several runs, and disks that are full.


def test_runs_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    """Each of four runs replaces the same folder many times; none sees another's half."""

    def write(number: int) -> None:
        for _ in range(25):
            KIND.check_replaceable(tmp_path / "letter")
            KIND.write(tmp_path / "letter", {"head": f"Dear {number},", "body": str(number) * 99})

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, number) for number in range(4)]:
            done.result()
    assert names(tmp_path) == ["letter"]
    last = (tmp_path / "letter" / "head").read_text()[5]
    assert contents(tmp_path / "letter") == {
        "head": f"Dear {last},".encode(),
        "body": last.encode() * 99,
    }


def test_runs_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            write_file(tmp_path / "file", str(number) * 1000)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, number) for number in range(4)]:
            done.result()
    assert names(tmp_path) == ["file"]
    content = (tmp_path / "file").read_text()
    assert content == content[0] * 1000


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file of this process may have more than 4 KiB, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    KIND.write(tmp_path / "letter", LETTER)
    write_file(tmp_path / "file", "old")
    for refused in (
        lambda: KIND.write(tmp_path / "letter", {"head": "Dear all,", "body": b"x" * 9999}),
        lambda: KIND.write(tmp_path / "new", {"head": "Dear all,", "body": b"x" * 9999}),
        lambda: write_file(tmp_path / "file", "x" * 9999),
        lambda: write_tensors(tmp_path / "file", {"weights": torch.zeros(9999)}),
    ):
        with pytest.raises(UserError, match="cannot be written: File too large"):
            refused()
    assert names(tmp_path) == ["file", "letter"]
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "letter" / "head").read_text() == "Dear reader,"


def test_a_path_with_a_nul_is_refused(tmp_path: Path) -> None:
    for refused in (check_writable_file, KIND.check_replaceable):
        with pytest.raises(UserError, match="cannot be written: a path holds no NUL"):
            refused(tmp_path / "a\0b")


def test_a_text_that_utf_8_lacks_is_escaped(tmp_path: Path) -> None:
    write_file(tmp_path / "file", os.fsdecode(b"a\xffb"))
    assert (tmp_path / "file").read_bytes() == rb"a\udcffb"
