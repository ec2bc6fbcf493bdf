"""The Linux layer of the C driver: files in the place of UIO and u-dma-buf."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import Any

import pytest

from hw.contract.program import VERSION
from hw.contract.registers import ID, REGISTERS
from tb.c_driver import Core, build_driver

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

PAGE = 4096
SIZE = 8 * PAGE
ADDRESS = 0x1_2345_6000


class Options(ctypes.Structure):
    """`zapcore_linux_options` of zapcore_linux.h."""

    _fields_ = (
        ("registers", ctypes.c_char_p),
        ("registers_at", ctypes.c_uint64),
        ("memory", ctypes.c_char_p),
        ("memory_at", ctypes.c_uint64),
        ("size", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("has_base", ctypes.c_int),
        ("cached", ctypes.c_int),
        ("number", ctypes.c_uint32),
        ("interrupts", ctypes.c_int),
        ("sleep_us", ctypes.c_uint),
        ("timeout_ms", ctypes.c_uint),
        ("sysfs", ctypes.c_char_p),
    )


class Device(ctypes.Structure):
    """`zapcore_linux` of zapcore_linux.h."""

    _fields_ = (
        ("core", Core),
        ("options", Options),
        ("registers_file", ctypes.c_int),
        ("memory_file", ctypes.c_int),
        ("sysfs", ctypes.c_char * 160),
    )


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Any:
    sanitizer = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    return build_driver(tmp_path_factory.mktemp("driver"), sanitizer)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with a core's registers, memory, and the files that u-dma-buf has in sysfs."""
    registers = bytearray(PAGE)
    for name, value in (("id", ID), ("version", VERSION)):
        at = REGISTERS[name].offset
        registers[at : at + 4] = value.to_bytes(4, "little")
    (tmp_path / "uio0").write_bytes(registers)
    (tmp_path / "udmabuf0").write_bytes(bytes(SIZE))
    folder = tmp_path / "sys" / "udmabuf0"
    folder.mkdir(parents=True)
    (folder / "phys_addr").write_text(f"{ADDRESS:#x}\n")
    (folder / "size").write_text(f"{SIZE}\n")
    for name in ("offset", "size", "direction", "for_device", "for_cpu"):
        (folder / f"sync_{name}").touch()
    return tmp_path


def opened(driver: Any, machine: Path, **changes: Any) -> tuple[Device, str]:
    """An open device, or the error."""
    options = Options(
        registers=str(machine / "uio0").encode(),
        memory=str(machine / "udmabuf0").encode(),
        sysfs=str(machine / "sys").encode(),
    )
    for name, value in changes.items():
        setattr(options, name, value)
    device, error = Device(), ctypes.create_string_buffer(300)
    failed = driver.zapcore_linux_open(ctypes.byref(device), ctypes.byref(options), error, 300)
    assert failed in (0, -1)
    assert bool(failed) == bool(error.value)
    return device, error.value.decode()


def test_a_buffer_of_u_dma_buf_is_found_and_mapped(driver: Any, machine: Path) -> None:
    device, error = opened(driver, machine)
    assert not error
    core = device.core
    assert (core.base, core.size) == (ADDRESS, SIZE)
    assert driver.zapcore_probe(ctypes.byref(core)) == 0
    ctypes.memmove(core.window + 5, b"written", 7)
    driver.zapcore_linux_close(ctypes.byref(device))
    assert (machine / "udmabuf0").read_bytes()[5:12] == b"written"
    assert not device.core.window


def test_a_part_of_a_buffer_is_used_where_that_is_asked_for(driver: Any, machine: Path) -> None:
    device, error = opened(driver, machine, memory_at=2 * PAGE, size=3 * PAGE + 100)
    assert not error
    assert (device.core.base, device.core.size) == (ADDRESS + 2 * PAGE, 3 * PAGE)
    driver.zapcore_linux_close(ctypes.byref(device))


def test_memory_that_is_no_buffer_needs_a_size_and_takes_a_base(driver: Any, machine: Path) -> None:
    (machine / "mem").write_bytes(bytes(SIZE))
    mem = str(machine / "mem").encode()
    device, error = opened(driver, machine, memory=mem, memory_at=PAGE, size=2 * PAGE)
    assert not error
    assert (device.core.base, device.core.size) == (PAGE, 2 * PAGE)
    driver.zapcore_linux_close(ctypes.byref(device))
    device, error = opened(driver, machine, memory=mem, size=PAGE, base=1 << 40, has_base=1)
    assert device.core.base == 1 << 40
    driver.zapcore_linux_close(ctypes.byref(device))
    _, error = opened(driver, machine, memory=mem)
    assert error == f"{machine}/mem: a size of at least 4096 must be given"


def test_caches_are_maintained_by_u_dma_buf(driver: Any, machine: Path) -> None:
    device, error = opened(driver, machine, cached=1, memory_at=PAGE)
    assert not error
    core = device.core
    folder = machine / "sys" / "udmabuf0"

    def said() -> list[str]:
        names = ("offset", "size", "direction", "for_device", "for_cpu")
        return [(folder / f"sync_{name}").read_text() for name in names]

    core.clean(ctypes.addressof(device), core.window + 64, 128)
    assert said() == [str(PAGE + 64), "128", "1", "1", ""]
    core.invalidate(ctypes.addressof(device), core.window + 256, 32)
    assert said() == [str(PAGE + 256), "32", "2", "1", "1"]
    driver.zapcore_linux_close(ctypes.byref(device))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"registers": b"/nowhere/uio0"}, "/nowhere/uio0: No such file or directory"),
        ({"memory": b"/nowhere/udmabuf9", "size": PAGE}, "/nowhere/udmabuf9: No such file"),
        ({"size": SIZE + PAGE}, "udmabuf0: it is smaller than the size that was asked for"),
        ({"memory_at": SIZE + PAGE}, "udmabuf0: memory_at lies beyond its end"),
        (
            {"memory": b"/dev/null", "size": PAGE, "cached": 1},
            "/dev/null: cached memory needs u-dma-buf",
        ),
        ({"memory": b"/dev/" + b"x" * 200, "size": PAGE}, "its name is too long"),
    ],
)
def test_what_cannot_be_opened_is_one_line(
    changes: dict[str, Any], says: str, driver: Any, machine: Path
) -> None:
    device, error = opened(driver, machine, **changes)
    assert says in error
    assert "\n" not in error
    assert (device.registers_file, device.memory_file) == (-1, -1)
