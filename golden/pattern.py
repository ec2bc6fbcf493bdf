"""Computation patterns, which say what activations of an ofm are computed before any prediction.

A pattern is a period and one bit per residue; position (row, col) belongs to `I_s` (computed) iff
the bit of (row + col) mod period is set, else to `I_t` (predicted). The four masks of the ZAP paper
(Shomron et al., section 2.1, figure 2) have this form. Software and hardware both derive every mask
from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from golden.errors import UserError

__all__ = ["FULL", "MASKS", "MAX_PERIOD", "Pattern"]

MAX_PERIOD = 16
"""Longest period. A tile's descriptor has the bits of twice as many positions (`repeated`)."""


@dataclass(frozen=True)
class Pattern:
    """A diagonal computation pattern.

    Parameters
    ----------
    period : int, 1 .. MAX_PERIOD
    bits : int
        Bit r is 1 iff positions with (row + col) mod period == r are computed. At least one is.
    """

    period: int
    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.period <= MAX_PERIOD:
            raise UserError(f"pattern period {self.period} is outside 1..{MAX_PERIOD}")
        if not 0 < self.bits < 1 << self.period:
            raise UserError(
                f"pattern bits {self.bits:#b} must have at least one of {self.period} bits set"
            )

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read `A`, `B`, `C`, `D` or `PERIOD:BITS`, BITS one 0 or 1 for each residue, 0 first."""
        if text in MASKS:
            return MASKS[text]
        period, colon, bits = text.partition(":")
        well_formed = colon and period.isdecimal() and bits and not set(bits) - {"0", "1"}
        if not well_formed or int(period) != len(bits):
            raise UserError(
                f"unknown pattern {text!r}: use {', '.join(MASKS)} or PERIOD:BITS "
                "with one bit for each residue, for example 5:11010"
            )
        return cls(int(period), int(bits[::-1], 2))

    def __str__(self) -> str:
        """The mask's letter, or PERIOD:BITS; `parse` reads it back."""
        for letter, mask in MASKS.items():
            if mask == self:
                return letter
        return f"{self.period}:" + "".join(str(self.bits >> r & 1) for r in range(self.period))

    @property
    def alpha(self) -> float:
        """Share of the activations that are computed before prediction."""
        return self.bits.bit_count() / self.period

    def computes(self, row: int, col: int) -> bool:
        """Say whether position (row, col) is in `I_s`."""
        return bool(self.bits >> (row + col) % self.period & 1)

    def repeated(self, first: int = 0) -> int:
        """The bits of 2 * MAX_PERIOD positions in a row; the lowest is that of residue `first`."""
        return sum(1 << i for i in range(2 * MAX_PERIOD) if self.computes(first, i))

    def mask(self, height: int, width: int) -> np.ndarray:
        """`I_s` as a bool array of shape (height, width)."""
        diagonal = (np.arange(height)[:, None] + np.arange(width)) % self.period
        return (self.bits >> diagonal & 1).astype(bool)


MASKS = {
    "A": Pattern(5, 0b01011),
    "B": Pattern(2, 0b1),
    "C": Pattern(5, 0b10100),
    "D": Pattern(3, 0b100),
}
"""The paper's masks; computed shares 0.6, 0.5, 0.4, 0.333."""

FULL = Pattern(1, 1)
"""Everything is computed and nothing predicted: the pattern of a layer without ZAP."""
