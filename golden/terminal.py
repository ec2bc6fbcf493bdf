"""Printing: the console that every command prints its tables and lines with."""

from __future__ import annotations

from typing import Any

import rich.console

__all__ = ["Console"]


class Console(rich.console.Console):
    """A console of rich that prints texts as they are; options are those of rich.

    By default, rich reads markup in every text: a path such as `a[/x]` would end the command, and
    `a[red]` would be printed as `a`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, **options)
