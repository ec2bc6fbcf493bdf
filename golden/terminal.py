"""Printing: the console that every command prints its tables and lines with."""

from __future__ import annotations

import os
from typing import Any

import rich.console

__all__ = ["Console"]

_OF_A_LOG = 160
"""The width of a file or a pipe in characters."""


class Console(rich.console.Console):
    """A console of rich that prints texts as they are; options are those of rich.

    By default, rich reads markup in every text: a path such as `a[/x]` would end the command, and
    `a[red]` would be printed as `a`. It also takes a log to be 80 columns wide, and cuts a table's
    cells to that: where the width is not known, a table is as wide as it needs to be, up to
    `_OF_A_LOG` columns.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, **options)
        if not self.is_terminal and "width" not in options and "COLUMNS" not in os.environ:
            self.width = _OF_A_LOG
