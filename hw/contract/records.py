"""A channel's record: the parameters that one output channel needs besides its weights.

The record stream of a tile holds for each output channel, in order, `record_words` words with its
record and `kernel_words` words with its weights. The fields of a record follow each other without
gaps, from the lowest bit of its first byte upwards; the rest of its `RECORD_BYTES` is zero.

These tables are the only place where fields and widths are written down.
`compiler.lowering.record_packing` fills records in, and `hw.layouts.descriptor` derives the core's
layouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from golden import arithmetic
from golden.arithmetic import ceil_div
from hw.contract.config import Config
from hw.contract.program import width

__all__ = [
    "PREDICTOR_FIELDS",
    "RECORD_BITS",
    "RECORD_BYTES",
    "RECORD_PARTS",
    "REQUANTISER_FIELDS",
    "RecordField",
    "record_fields",
    "record_words",
]


@dataclass(frozen=True)
class RecordField:
    """One or several numbers of the same width.

    Parameters
    ----------
    bits : int
        Width of one number.
    signed : bool
    count : int
        How many numbers there are, the first in the lowest bits.
    """

    bits: int
    signed: bool = False
    count: int = 1


_MULTIPLIER = RecordField(arithmetic.MULTIPLIER_BITS)
_SHIFT = RecordField(width(0, arithmetic.SHIFT_MAX))
_KERNEL = RecordField(8, signed=True, count=9)

REQUANTISER_FIELDS = {
    "bias": RecordField(arithmetic.ACC_BITS, signed=True),
    "multiplier": _MULTIPLIER,
    "shift": _SHIFT,
    "shortcut_multiplier": _MULTIPLIER,
    "shortcut_shift": _SHIFT,
}
"""Parameters that turn a channel's sums into activations; see `golden.layers.Conv`."""

PREDICTOR_FIELDS = {
    "weight1": _KERNEL,
    "offset1": RecordField(arithmetic.BIAS1_BITS + 1, signed=True),
    "shift1": RecordField(width(0, arithmetic.PREDICTOR_SHIFT_MAX)),
    "weight2": _KERNEL,
    "threshold": RecordField(arithmetic.SCORE_BITS, signed=True),
}
"""A channel's part of a ZAP; see `golden.layers.Predictor`. Kernels are row-major.

`offset1` is the sum of `bias1` and of the half with which the shift of layer 1 rounds.
"""

RECORD_PARTS: Mapping[str, Mapping[str, RecordField]] = {
    "requantiser": REQUANTISER_FIELDS,
    "predictor": PREDICTOR_FIELDS,
}
"""The parts of a record, in order. All bits of a part are zero where a layer has no use for it."""

RECORD_BYTES = 40
"""Bytes of a record in the record stream."""


def record_fields() -> Iterator[tuple[str, RecordField]]:
    """The fields of a record in order, under the names `part.field`."""
    for part, fields in RECORD_PARTS.items():
        for name, field in fields.items():
            yield f"{part}.{name}", field


RECORD_BITS = sum(field.bits * field.count for _, field in record_fields())
"""Bits of a record that carry something."""
assert RECORD_BITS <= 8 * RECORD_BYTES


def record_words(config: Config) -> int:
    """Words of V bytes in the record stream before each channel's weights."""
    return ceil_div(RECORD_BYTES, config.lanes)
