"""Values of command-line options: numbers, and options that may be given for single layers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from golden.errors import UserError

__all__ = ["parse_number", "parse_shape", "parse_sigma", "parse_size", "per_layer"]

_Value = TypeVar("_Value")


def parse_sigma(text: str) -> float:
    """Parse a threshold: a number, or an infinity (skip all, skip none).

    Raises UserError for NaN and for anything that is not a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UserError(f"sigma {text!r} is not a number")
    return value


def parse_number(text: str, name: str) -> float:
    """Parse a finite number or a fraction such as 1/255; error messages call it `name`.

    Raises UserError.
    """
    above, slash, below = text.partition("/")
    try:
        value = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{name} {text!r} is not a number or a fraction such as 1/255")
    return value


def parse_size(text: str) -> tuple[int, int]:
    """Parse --size: N or HxW in pixels, as (height, width). Raises UserError."""
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if match is None:
        raise UserError(f"--size {text!r} is not N or HxW in pixels, for example 96 or 49x10")
    return int(match[1]), int(match[2] or match[1])


def parse_shape(text: str) -> tuple[int, int, int]:
    """Parse --shape: CxHxW, channels and pixels of an image. Raises UserError."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise UserError(
            f"--shape {text!r} is not CHANNELSxHEIGHTxWIDTH, for example 3x224x224 or 1x49x10"
        )
    return int(match[1]), int(match[2]), int(match[3])


def per_layer(
    texts: Sequence[str], layers: Sequence[str], parse: Callable[[str], _Value], default: _Value
) -> dict[str, _Value]:
    """Return the value of each layer from the texts of one option.

    `VALUE` sets the value of all layers, `LAYER=VALUE` that of one layer; a later text overrides an
    earlier one of the same kind. For example, `--pattern B conv3=D` sets pattern D in conv3 and
    pattern B in all other layers.

    Raises UserError for a layer that is not among `layers`, and passes on what `parse` raises.
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
