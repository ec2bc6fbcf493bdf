"""Numbers of the command line, and options given once for all layers and again for single ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from golden.errors import UserError

__all__ = ["parse_integer", "parse_sigma", "per_layer"]

_Value = TypeVar("_Value")


def parse_sigma(text: str) -> float:
    """A real threshold; infinities (skip all, skip none) are real enough, NaN is not."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UserError(f"sigma {text!r} is not a number")
    return value


def parse_integer(text: str, name: str, low: int, high: int) -> int:
    """An integer of `low` .. `high`; `name` is what the user calls it."""
    if not (text.isdecimal() and low <= int(text) <= high):
        raise UserError(f"{name} {text!r} is not an integer of {low} .. {high}")
    return int(text)


def per_layer(
    texts: Sequence[str], layers: Sequence[str], parse: Callable[[str], _Value], default: _Value
) -> dict[str, _Value]:
    """The value of each layer: `VALUE` sets all, `LAYER=VALUE` one; the later of equals counts.

    So `--pattern B conv3=D` is pattern D in conv3 and B in all others.
    Raises UserError for a layer that is not among `layers`, and whatever `parse` raises.
    """
    common = default
    special: dict[str, _Value] = {}
    for text in texts:
        layer, equals, value = text.rpartition("=")
        if not equals:
            common = parse(value)
        elif layer in layers:
            special[layer] = parse(value)
        else:
            raise UserError(f"{text}: no ZAP in a layer {layer!r}; there is in {', '.join(layers)}")
    return {layer: special.get(layer, common) for layer in layers}
