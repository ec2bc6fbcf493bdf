"""Computation patterns, which say what activations of an ofm are computed before any prediction.

A pattern is a period, one bit per residue, and a row step; position (row, col) belongs to `I_s`
(computed) iff the bit of (row_step * row + col) mod period is set, else to `I_t` (predicted). The
four masks of the ZAP paper (Shomron et al., section 2.1, figure 2) have row step 1: diagonals. With
row step 2 and period 5, one position in five is computed and each of the others touches one of
them. Software and hardware both derive every mask from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from golden.errors import UserError

__all__ = ["FULL", "MASKS", "MAX_PERIOD", "Pattern"]

MAX_PERIOD = 16
"""Longest period. A tile's descriptor has the bits of twice as many positions (`repeated`)."""

_FORM = re.compile("(?P<period>[0-9]{1,3}):(?P<bits>[01]+)(:(?P<step>[0-9]{1,3}))?")


@dataclass(frozen=True)
class Pattern:
    """A computation pattern.

    Parameters
    ----------
    period : int, 1 .. MAX_PERIOD
    bits : int
        Bit r is 1 iff positions with (row_step * row + col) mod period == r are computed. At least
        one is.
    row_step : int, 0 .. period - 1, or 1
        Residues from a position to the one below it.
    """

    period: int
    bits: int
    row_step: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.period <= MAX_PERIOD:
            raise UserError(f"pattern period {self.period} is outside 1..{MAX_PERIOD}")
        if not 0 < self.bits < 1 << self.period:
            raise UserError(
                f"pattern bits {self.bits:#b} must have at least one of {self.period} bits set"
            )
        if not 0 <= self.row_step < max(self.period, 2):
            raise UserError(f"pattern row step {self.row_step} is outside 0..{self.period - 1}")

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read `A`, `B`, `C`, `D`, `PERIOD:BITS` or `PERIOD:BITS:ROW_STEP`.

        BITS has one 0 or 1 for each residue, 0 first.
        """
        if text in MASKS:
            return MASKS[text]
        found = _FORM.fullmatch(text)
        if found is None or int(found["period"]) != len(found["bits"]):
            raise UserError(
                f"unknown pattern {text!r}: use {', '.join(MASKS)}, PERIOD:BITS with one bit for "
                "each residue, for example 5:11010, or PERIOD:BITS:ROW_STEP, for example 5:10000:2"
            )
        return cls(int(found["period"]), int(found["bits"][::-1], 2), int(found["step"] or 1))

    def __str__(self) -> str:
        """The mask's letter, or the shorter of the forms that `parse` reads back."""
        for letter, mask in MASKS.items():
            if mask == self:
                return letter
        bits = "".join(str(self.bits >> r & 1) for r in range(self.period))
        return f"{self.period}:{bits}" + (f":{self.row_step}" if self.row_step != 1 else "")

    @property
    def alpha(self) -> float:
        """Share of the activations that are computed before prediction."""
        return self.bits.bit_count() / self.period

    def residue(self, row: int, col: int) -> int:
        """The place of position (row, col) in the pattern."""
        return (self.row_step * row + col) % self.period

    def computes(self, row: int, col: int) -> bool:
        """Say whether position (row, col) is in `I_s`."""
        return bool(self.bits >> self.residue(row, col) & 1)

    def repeated(self, row: int = 0) -> int:
        """The bits of a row's first 2 * MAX_PERIOD positions; the lowest is that of the first."""
        return sum(1 << i for i in range(2 * MAX_PERIOD) if self.computes(row, i))

    def mask(self, height: int, width: int) -> np.ndarray:
        """`I_s` as a bool array of shape (height, width)."""
        residues = (self.row_step * np.arange(height)[:, None] + np.arange(width)) % self.period
        return (self.bits >> residues & 1).astype(bool)


MASKS = {
    "A": Pattern(5, 0b01011),
    "B": Pattern(2, 0b1),
    "C": Pattern(5, 0b10100),
    "D": Pattern(3, 0b100),
}
"""The paper's masks; computed shares 0.6, 0.5, 0.4, 0.333."""

FULL = Pattern(1, 1)
"""Everything is computed and nothing predicted: the pattern of a layer without ZAP."""
