"""Signals and constants of a layout, with types that mypy understands.

Two of the types in `amaranth-stubs` mislead mypy. The stubs say in the metaclass of `Signal` that
the signal of a layout is a view, and mypy does not read metaclasses there. And in the stubs of
`amaranth.lib.data`, mypy takes `Const` for the one in `amaranth.hdl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from amaranth import Signal
from amaranth.lib import data

__all__ = ["StructConst", "struct_bits", "struct_from_bits", "struct_signal"]


class StructConst(Protocol):
    """A constant of a layout, whose fields are numbers, lists, or constants again."""

    def __getitem__(self, name: str) -> Any:
        """The field of that name."""

    def __getattr__(self, name: str) -> Any:
        """The field of that name."""

    def as_bits(self) -> int:
        """The constant's bits."""


def struct_signal(layout: data.Layout, *, name: str, reset_less: bool = False) -> data.View:
    """`Signal(layout)`, typed as the view that it is."""
    signal = Signal(layout, name=name, reset_less=reset_less, src_loc_at=1)
    return cast(data.View, signal)


def struct_bits(layout: data.Layout, fields: Mapping[str, Any]) -> int:
    """The bits of a layout whose fields have these values; a field that is not named is 0."""
    constant = cast(StructConst, layout.const(cast(Mapping[int | str, Any], fields)))
    return constant.as_bits()


def struct_from_bits(layout: data.Layout, bits: int) -> StructConst:
    """The fields of a layout that has these bits."""
    return cast(StructConst, layout.from_bits(bits))
