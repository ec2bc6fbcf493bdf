"""Builds the C driver as a shared library, and calls it from Python."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

from golden.errors import UserError
from hw.contract.c_headers import C_HEADERS
from tb.paths import REPOSITORY

__all__ = ["DRIVER", "FLAGS", "Core", "CoreTensor", "Fault", "build_driver", "driver_sources"]

DRIVER = REPOSITORY / "driver"
FLAGS = (
    *("-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow"),
    *("-Wundef", "-Werror"),
)
"""The driver compiles without a warning under these."""

_CLEAN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
_WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
_WAIT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32)


class Core(ctypes.Structure):
    """`zapcore` of zapcore.h."""

    CLEAN, READ, WRITE, WAIT = _CLEAN, _READ, _WRITE, _WAIT
    _fields_ = (
        ("registers", ctypes.c_void_p),
        ("window", ctypes.c_void_p),
        ("base", ctypes.c_uint64),
        ("size", ctypes.c_uint32),
        ("interrupts", ctypes.c_int),
        ("number", ctypes.c_uint32),
        ("clean", _CLEAN),
        ("invalidate", _CLEAN),
        ("read_register", _READ),
        ("write_register", _WRITE),
        ("wait", _WAIT),
        ("context", ctypes.c_void_p),
    )


class CoreTensor(ctypes.Structure):
    """`zapcore_tensor` of zapcore.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        *((name, ctypes.c_uint32) for name in ("address", "bytes", "channels", "height", "width")),
        ("is_signed", ctypes.c_int),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_uint32) for name in ("slots", "levels")),
        *((f"{name}_bytes", ctypes.c_uint32) for name in ("image", "plane", "row")),
    )


class Fault(ctypes.Structure):
    """`zapcore_fault` of zapcore.h."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("code", "word", "layer"))


def driver_sources(folder: Path) -> list[str]:
    """Write the generated headers into a folder; returns the options that find all headers."""
    for name, text in C_HEADERS.items():
        (folder / name).write_text(text())
    return [f"-I{DRIVER}", f"-I{DRIVER / 'linux'}", f"-I{folder}"]


def build_driver(folder: Path, flags: Sequence[str] = ()) -> ctypes.CDLL:
    """Compile the driver into a shared library in a folder and load it, with the types that matter.

    Raises UserError where there is no C compiler, or it refuses the sources.
    """
    library = folder / "libzapcore.so"
    sources = [DRIVER / "zapcore.c", DRIVER / "linux" / "zapcore_linux.c"]
    includes = driver_sources(folder)
    command = ["cc", *FLAGS, *flags, *includes, "-shared", "-fPIC", *map(str, sources)]
    try:
        subprocess.run([*command, "-o", str(library)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("the C driver needs a C compiler named cc") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"the C driver does not compile: {error.stderr}") from None
    driver = ctypes.CDLL(str(library))
    driver.zapcore_last_fault.restype = Fault
    driver.zapcore_counter.restype = ctypes.c_uint64
    driver.zapcore_class.restype = ctypes.c_uint32
    driver.zapcore_level.restype = ctypes.c_int32
    for name in ("status_text", "fault_text", "counter_name"):
        getattr(driver, f"zapcore_{name}").restype = ctypes.c_char_p
    for name in ("network_name", "point_name", "layer_name", "class_name"):
        getattr(driver, f"zapcore_{name}").restype = ctypes.c_char_p
    return driver
