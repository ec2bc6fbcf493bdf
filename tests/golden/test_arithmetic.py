"""Rounding and scales, against exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from golden import arithmetic


@pytest.mark.parametrize("shift", [0, 1, 4, 9])
def test_a_hidden_activation_is_rounded_to_nearest_halves_up_and_clamped(shift: int) -> None:
    for acc in (*range(-40, 40), 255 << shift, (255 << shift) + 1, 300 << shift, -(9 << shift)):
        nearest = floor(Fraction(acc, 1 << shift) + Fraction(1, 2))
        assert arithmetic.hidden(acc, shift) == min(max(nearest, 0), 255)


@pytest.mark.parametrize("scale", [1.0, 0.75, 3.1e-9, 2.0**-30, 1 - 2.0**-18, 1.9999999, 31000.0])
def test_a_scale_is_split_into_the_nearest_multiplier_and_shift(scale: float) -> None:
    (multiplier,), (shift,) = arithmetic.split_scale(np.array([scale]))
    assert 1 << arithmetic.MULTIPLIER_BITS - 1 <= multiplier < 1 << arithmetic.MULTIPLIER_BITS
    step = Fraction(1, 1 << int(shift))
    assert abs(int(multiplier) * step - Fraction(scale)) <= step / 2
