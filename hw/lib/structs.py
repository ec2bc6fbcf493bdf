"""Signals of a layout."""

from __future__ import annotations

from typing import cast

from amaranth import Signal
from amaranth.lib import data

__all__ = ["struct_signal"]


def struct_signal(layout: data.Layout, *, name: str, reset_less: bool = False) -> data.View:
    """`Signal(layout)`, typed as the view that it is.

    `amaranth-stubs` gives a signal's type in the metaclass of `Signal`, which mypy does not read.
    """
    signal = Signal(layout, name=name, reset_less=reset_less, src_loc_at=1)
    return cast(data.View, signal)
