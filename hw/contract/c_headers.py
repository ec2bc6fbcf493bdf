"""The headers that C programs are given: their names, and what writes their text."""

from __future__ import annotations

from collections.abc import Callable

from hw.contract import program_file, registers

__all__ = ["C_HEADERS"]

C_HEADERS: dict[str, Callable[[], str]] = {
    "zapcore_registers.h": registers.c_header,
    "zapcore_file.h": program_file.c_header,
}
"""Name of a header -> the function that returns its text."""
