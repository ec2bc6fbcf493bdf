"""Command lines: the parser of every command, and the types of options that are numbers.

A wrong option is a `UserError` of one line, as any other wrong input.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import NoReturn

from golden.errors import UserError

__all__ = ["Parser", "integer", "natural", "number", "positive", "seed_number"]

_INTEGER = re.compile(r"-?(?:[0-9]{1,18}|0[xX][0-9a-fA-F]{1,16})")
"""Digits alone: `int` would also take underscores, spaces and thousands of digits."""


class Parser(argparse.ArgumentParser):
    """A parser that raises a UserError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        of_type = re.match(r"argument ([^:]+): ('.*' is not an? (?:integer|number) .*)", message)
        raise UserError(" ".join(of_type.groups()) if of_type else f"{message}; see --help")


_MOST = (1 << 31) - 1
"""No count of anything here is larger, and every library takes it."""


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a `type` of argparse: an integer of `low` .. `high`, decimal or hexadecimal (0x)."""
    wanted = f"of at least {low}" if high is None else f"of {low} .. {high}"

    def parse(text: str) -> int:
        value = int(text, 16 if "x" in text.lower() else 10) if _INTEGER.fullmatch(text) else None
        if value is None or value < low or value > (_MOST if high is None else high):
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer {wanted}")
        return value

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a `type` of argparse: a number above `low`, and of at most `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low < value <= high:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number above {low:g}, {high:g} at most"
            )
        return value

    return parse


positive = integer(1)
natural = integer(0)
seed_number = integer(0, (1 << 32) - 1)
