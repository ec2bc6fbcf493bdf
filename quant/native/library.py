"""The compiled kernels: built once for this processor, kept in the user's cache, and loaded.

`kernels.cpp` is compiled with the machine's C++ compiler. Where that fails there are no kernels,
and networks run as golden runs them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from ctypes import POINTER, c_double, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch

__all__ = [
    "LANES",
    "Kernels",
    "MaxPooling",
    "Prediction",
    "Requantisation",
    "Scores",
    "load_kernels",
]

LANES = 16
"""Channels that the kernels work on at a time."""

_SOURCE = Path(__file__).with_name("kernels.cpp")
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-march=native", "-Wno-psabi")
_PATIENCE = 120
"""Seconds that the compiler may take."""

_MAP = [(name, c_int64) for name in ("images", "height", "width", "channels")]


class Requantisation(ctypes.Structure):
    """The kernel's structure of the same name."""

    _fields_ = (
        *_MAP,
        ("bias", c_void_p),
        ("scale", c_void_p),
        ("is_signed", c_int32),
        ("sums_are_double", c_int32),
        ("residual", c_void_p),
        ("residual_height", c_int64),
        ("residual_width", c_int64),
        ("residual_channels", c_int64),
        ("residual_stride", c_int64),
        ("channel_offset", c_int64),
        ("residual_scale", c_void_p),
        ("residual_is_signed", c_int32),
    )


class Prediction(ctypes.Structure):
    """The kernel's structure of the same name."""

    _fields_ = (
        *_MAP,
        ("computed", c_void_p),
        ("weight1", c_void_p),
        ("bias1", c_void_p),
        ("power1", c_void_p),
        ("weight2", c_void_p),
        ("threshold", c_void_p),
        ("padded", c_int64),
    )


class Scores(ctypes.Structure):
    """The kernel's structure of the same name."""

    _fields_ = (
        *_MAP,
        ("computed", c_void_p),
        ("scale", c_void_p),
        ("offset", c_void_p),
        ("first", c_double),
        ("per_unit", c_double),
        ("bins", c_int64),
    )


class MaxPooling(ctypes.Structure):
    """The kernel's structure of the same name."""

    _fields_ = (
        *_MAP,
        ("out_height", c_int64),
        ("out_width", c_int64),
        ("kernel", c_int64 * 2),
        ("stride", c_int64 * 2),
        ("corner", c_int64 * 2),
        ("is_signed", c_int32),
    )


class Kernels:
    """The functions of the compiled library; `kernels.cpp` describes them."""

    def __init__(self, file: Path) -> None:
        library = ctypes.CDLL(str(file))
        self.requantise = library.requantise
        self.requantise.argtypes = [POINTER(Requantisation), c_void_p, c_void_p]
        self.predict = library.predict
        self.predict.argtypes = [POINTER(Prediction), c_void_p, c_void_p, c_void_p]
        self.count_scores = library.count_scores
        self.count_scores.argtypes = [POINTER(Scores), *[c_void_p] * 4]
        self.max_pool = library.max_pool
        self.max_pool.argtypes = [POINTER(MaxPooling), c_void_p, c_void_p]
        for function in (self.requantise, self.predict, self.count_scores, self.max_pool):
            function.restype = None


@cache
def load_kernels() -> Kernels | None:
    """Return the kernels, compiled if they are not in the cache; None where that is impossible."""
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return None
    try:
        return Kernels(_built(compiler))
    except (OSError, subprocess.SubprocessError):
        return None


def _built(compiler: str) -> Path:
    """Return the library's file. Its name tells source, compiler, flags and processor apart."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    processor = repr(sorted(torch.cpu.get_capabilities().items())).encode()
    known = (_SOURCE.read_bytes(), version, " ".join(_FLAGS).encode(), processor)
    digest = hashlib.sha256(b"\0".join(known)).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zapcore"
    file = folder / f"kernels-{digest}.so"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / file.name
            command = [compiler, *_FLAGS, "-o", str(made), str(_SOURCE)]
            subprocess.run(command, capture_output=True, check=True, timeout=_PATIENCE)
            made.replace(file)  # whole or not at all, also if two processes compile at once
    return file
